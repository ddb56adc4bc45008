select * from {{ source('sales', 'sellers') }}
