select * from {{ source('plant', 'readings') }}
