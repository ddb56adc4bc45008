select * from {{ source('sales', 'products') }}
