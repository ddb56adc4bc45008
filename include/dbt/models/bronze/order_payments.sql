select * from {{ source('sales', 'order_payments') }}
