select * from {{ source('kinds', 'retyped') }}
