select * from {{ source('sales', 'order_reviews') }}
