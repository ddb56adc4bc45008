select * from {{ source('kinds', 'parent') }}
