select * from {{ source('office', 'readings') }}
