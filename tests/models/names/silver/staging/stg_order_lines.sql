select * from {{ ref('order_lines') }}
