select * from {{ source('kinds', 'materialized') }}
