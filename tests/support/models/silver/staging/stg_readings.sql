select * from {{ ref('readings') }}
