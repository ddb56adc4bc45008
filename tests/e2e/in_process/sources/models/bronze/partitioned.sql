select * from {{ source('kinds', 'partitioned') }}
