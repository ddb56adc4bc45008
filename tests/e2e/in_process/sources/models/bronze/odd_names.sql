select * from {{ source('things', 'odd_names') }}
