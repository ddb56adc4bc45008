select * from {{ source('field', 'readings') }}
