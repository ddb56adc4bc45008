select * from {{ source('kinds', 'plain_view') }}
