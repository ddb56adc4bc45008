select * from {{ source('kinds', 'policed') }}
