select * from {{ source('sales', 'product_category_name_translation') }}
