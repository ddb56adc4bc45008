{#-
  CTEs that every gold table of sales starts from. A sale is a `fact_sales` row whose order is neither canceled nor
  unavailable. With `categories` a sale has its product's `category`, with `customers` its customer's
  `customer_unique_id` and `state`. Each adds a join, and makes more sales count as changed: ask only for the columns
  that the table shows.

  The CTE `changed_sales` has the sales that changed since the last publication, in their current and their published
  state. So it includes the keys that a sale had before a change. `sales` has all sales in their current state. With
  `reviews` a changed review of its order makes a sale count as changed, too.
-#}
{% macro sales_ctes(categories=false, customers=false, reviews=false) -%}
changed_orders as (
    {{ changed_orders() }}
    {%- if reviews %}
    union
    select order_id from {{ ref('stg_order_reviews') }} where {{ is_changed() }}
    {%- endif %}
),
{% if categories %}
changed_products as (
    select product_id from {{ ref('stg_products') }} where {{ is_changed() }}
    union
    select product_id from {{ ref('dim_products') }} where {{ is_changed() }}
),
{% endif %}
{%- if customers %}
changed_customers as (
    select customer_id from {{ ref('stg_customers') }} where {{ is_changed() }}
),
{% endif %}
sales as (
    {{ select_sales(
        ref('fact_sales'),
        ref('dim_products') if categories else none,
        ref('stg_customers') if customers else none
    ) }}
),

published_sales as (
    {{ select_sales(
        as_published(ref('fact_sales')),
        as_published(ref('dim_products')) if categories else none,
        as_published(ref('stg_customers')) if customers else none
    ) }}
),

all_sales as (
    select * from sales
    union all
    select * from published_sales
),

changed_sales as (
    select * from all_sales
    {%- if not compares_whole() %}
    where
        order_id in (select order_id from changed_orders)
        {%- if categories %}
        or product_id in (select product_id from changed_products)
        {%- endif %}
        {%- if customers %}
        or customer_id in (select customer_id from changed_customers)
        {%- endif %}
    {%- endif %}
)
{%- endmacro %}

{% macro select_sales(facts, products, customers) -%}
    select
        facts.order_id,
        facts.product_id,
        facts.seller_id,
        facts.customer_id,
        facts.order_status,
        facts.order_purchase_timestamp,
        facts.order_delivered_customer_date,
        facts.order_estimated_delivery_date,
        facts.price,
        facts.freight_value,
        facts.payment_value,
        {%- if products %}
        coalesce(
            products.product_category_name_english,
            products.product_category_name,
            'unknown'
        ) as category,
        {%- endif %}
        {%- if customers %}
        customers.customer_unique_id,
        coalesce(customers.customer_state, 'unknown') as state,
        {%- endif %}
        cast(date_trunc('month', facts.order_purchase_timestamp) as date) as month,
        cast(facts.order_purchase_timestamp as date) as day
    from {{ facts }} as facts
    {%- if products %}
    left join {{ products }} as products
        on facts.product_id = products.product_id
    {%- endif %}
    {%- if customers %}
    left join {{ customers }} as customers
        on facts.customer_id = customers.customer_id and customers._state = 'current'
    {%- endif %}
    where facts.order_status not in ('canceled', 'unavailable')
{%- endmacro %}

{#- Sum and count of an order's valid reviews; one review may belong to several orders. -#}
{% macro reviews_per_order() -%}
    select order_id, sum(review_score) as score, count(*) as reviews
    from {{ ref('stg_order_reviews') }}
    where _state = 'current'
    group by order_id
{%- endmacro %}
