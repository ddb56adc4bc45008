select * from {{ source('sales', 'order_items') }}
