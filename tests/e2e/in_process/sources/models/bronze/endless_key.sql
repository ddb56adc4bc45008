select * from {{ source('kinds', 'endless_key') }}
