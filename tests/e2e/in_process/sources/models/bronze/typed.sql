select * from {{ source('things', 'typed') }}
