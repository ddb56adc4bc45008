select * from {{ source('plant', 'devices') }}
