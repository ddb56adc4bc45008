select * from {{ source('sales', 'customers') }}
