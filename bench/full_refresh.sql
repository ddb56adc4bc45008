-- The gold tables by a full refresh, for comparison with the pipeline: plain dbt models on Trino that rebuild every table
-- from the source. Each line `-- model: name` starts a model. peer.py adds models that copy the source tables (raw_*),
-- and models that copy the gold tables into PostgreSQL. The results are like those of the pipeline, but these models have
-- no quarantine, deletes, row versions or tests.

-- model: stg_customers
select
    customer_id,
    trim(customer_unique_id) as customer_unique_id,
    lpad(trim(customer_zip_code_prefix), 5, '0') as customer_zip_code_prefix,
    lower(trim(customer_city)) as customer_city,
    upper(trim(customer_state)) as customer_state,
    updated_at
from {{ ref('raw_customers') }}
where customer_id is not null

-- model: stg_sellers
select
    seller_id,
    lpad(trim(seller_zip_code_prefix), 5, '0') as seller_zip_code_prefix,
    lower(trim(seller_city)) as seller_city,
    upper(trim(seller_state)) as seller_state,
    updated_at
from {{ ref('raw_sellers') }}
where seller_id is not null

-- model: stg_products
select
    product_id,
    trim(product_category_name) as product_category_name,
    try_cast(product_weight_g as decimal(18, 2)) as product_weight_g,
    try_cast(product_length_cm as decimal(18, 2)) as product_length_cm,
    try_cast(product_height_cm as decimal(18, 2)) as product_height_cm,
    try_cast(product_width_cm as decimal(18, 2)) as product_width_cm,
    updated_at
from {{ ref('raw_products') }}
where product_id is not null

-- model: stg_translations
select
    trim(product_category_name) as product_category_name,
    trim(product_category_name_english) as product_category_name_english
from {{ ref('raw_product_category_name_translation') }}

-- model: stg_geolocation
select
    geolocation_id,
    lpad(trim(geolocation_zip_code_prefix), 5, '0') as geolocation_zip_code_prefix,
    try_cast(geolocation_lat as double) as geolocation_lat,
    try_cast(geolocation_lng as double) as geolocation_lng,
    lower(trim(geolocation_city)) as geolocation_city,
    upper(trim(geolocation_state)) as geolocation_state,
    updated_at
from {{ ref('raw_geolocation') }}

-- model: stg_orders
select
    order_id,
    customer_id,
    order_status,
    try_cast(order_purchase_timestamp as timestamp(6)) as order_purchase_timestamp,
    try_cast(order_approved_at as timestamp(6)) as order_approved_at,
    try_cast(order_delivered_carrier_date as timestamp(6)) as order_delivered_carrier_date,
    try_cast(order_delivered_customer_date as timestamp(6)) as order_delivered_customer_date,
    try_cast(order_estimated_delivery_date as timestamp(6)) as order_estimated_delivery_date,
    updated_at
from {{ ref('raw_orders') }}
where order_id is not null

-- model: stg_order_items
select
    order_id,
    try_cast(order_item_id as integer) as order_item_id,
    product_id,
    seller_id,
    try_cast(shipping_limit_date as timestamp(6)) as shipping_limit_date,
    try_cast(price as decimal(18, 2)) as price,
    try_cast(freight_value as decimal(18, 2)) as freight_value,
    updated_at
from {{ ref('raw_order_items') }}
where order_id is not null

-- model: stg_order_payments
select
    order_id,
    try_cast(payment_sequential as integer) as payment_sequential,
    payment_type,
    try_cast(payment_installments as integer) as payment_installments,
    try_cast(payment_value as decimal(18, 2)) as payment_value,
    updated_at
from {{ ref('raw_order_payments') }}
where order_id is not null

-- model: stg_order_reviews
select
    review_id,
    order_id,
    try_cast(review_score as integer) as review_score,
    try_cast(review_creation_date as timestamp(6)) as review_creation_date,
    updated_at
from {{ ref('raw_order_reviews') }}
where order_id is not null

-- model: dim_customers
select
    customer_unique_id,
    max_by(customer_state, updated_at) as customer_state,
    max_by(customer_city, updated_at) as customer_city,
    max_by(customer_zip_code_prefix, updated_at) as customer_zip_code_prefix
from {{ ref('stg_customers') }}
group by customer_unique_id

-- model: dim_sellers
select
    seller_id,
    seller_state,
    seller_city,
    seller_zip_code_prefix
from {{ ref('stg_sellers') }}

-- model: dim_products
select
    products.product_id,
    products.product_category_name,
    translations.product_category_name_english,
    products.product_weight_g,
    products.product_length_cm * products.product_height_cm * products.product_width_cm as volume_cm3
from {{ ref('stg_products') }} as products
left join {{ ref('stg_translations') }} as translations
    on products.product_category_name = translations.product_category_name

-- model: dim_geolocation
select
    geolocation_zip_code_prefix,
    approx_percentile(geolocation_lat, 0.5) as geolocation_lat,
    approx_percentile(geolocation_lng, 0.5) as geolocation_lng,
    min(geolocation_city) as geolocation_city,
    min(geolocation_state) as geolocation_state
from {{ ref('stg_geolocation') }}
group by geolocation_zip_code_prefix

-- model: fact_sales
with paid as (
    select order_id, sum(payment_value) as paid
    from {{ ref('stg_order_payments') }}
    group by order_id
),

weighted as (
    select
        items.*,
        coalesce(paid.paid, 0) as paid,
        sum(items.price + items.freight_value) over (partition by items.order_id) as order_total
    from {{ ref('stg_order_items') }} as items
    left join paid on items.order_id = paid.order_id
),

final as (
    select
        weighted.order_id,
        weighted.order_item_id,
        weighted.product_id,
        weighted.seller_id,
        orders.customer_id,
        orders.order_status,
        orders.order_purchase_timestamp,
        orders.order_approved_at,
        orders.order_delivered_carrier_date,
        orders.order_delivered_customer_date,
        orders.order_estimated_delivery_date,
        weighted.price,
        weighted.freight_value,
        cast(
            weighted.paid * (weighted.price + weighted.freight_value) / nullif(weighted.order_total, 0) as decimal(18, 2)
        ) as payment_value
    from weighted
    inner join {{ ref('stg_orders') }} as orders on weighted.order_id = orders.order_id
)

select * from final

-- model: sales_by_day
select
    cast(sales.order_purchase_timestamp as date) as day,
    count(distinct sales.order_id) as orders,
    count(*) as items,
    count(distinct customers.customer_unique_id) as customers,
    sum(sales.price) as item_revenue,
    sum(sales.freight_value) as freight,
    sum(sales.payment_value) as payments
from {{ ref('fact_sales') }} as sales
left join {{ ref('stg_customers') }} as customers on sales.customer_id = customers.customer_id
where sales.order_status not in ('canceled', 'unavailable')
group by 1

-- model: sales_by_category_month
select
    cast(date_trunc('month', sales.order_purchase_timestamp) as date) as month,
    coalesce(products.product_category_name_english, products.product_category_name, 'unknown') as category,
    sum(sales.payment_value) as sales,
    count(distinct sales.order_id) as bills,
    count(*) as items,
    sum(sales.payment_value) / count(distinct sales.order_id) as values_per_bill
from {{ ref('fact_sales') }} as sales
left join {{ ref('dim_products') }} as products on sales.product_id = products.product_id
where sales.order_status not in ('canceled', 'unavailable')
group by 1, 2

-- model: customer_analytics
select
    customers.customer_unique_id,
    max_by(customers.customer_state, sales.order_purchase_timestamp) as state,
    min(sales.order_purchase_timestamp) as first_order_at,
    max(sales.order_purchase_timestamp) as last_order_at,
    count(distinct sales.order_id) as orders,
    count(*) as items,
    sum(sales.payment_value) as total_spent
from {{ ref('fact_sales') }} as sales
inner join {{ ref('stg_customers') }} as customers on sales.customer_id = customers.customer_id
where sales.order_status not in ('canceled', 'unavailable')
group by customers.customer_unique_id

-- model: product_analytics
with reviews as (
    select order_id, sum(review_score) as score, count(*) as reviews
    from {{ ref('stg_order_reviews') }}
    group by order_id
),

per_order as (
    select product_id, order_id, count(*) as units, sum(price) as revenue
    from {{ ref('fact_sales') }}
    where order_status not in ('canceled', 'unavailable')
    group by product_id, order_id
),

totals as (
    select
        per_order.product_id,
        sum(per_order.units) as units,
        count(*) as orders,
        sum(per_order.revenue) as revenue,
        cast(sum(reviews.score) as double) / sum(reviews.reviews) as average_review_score
    from per_order
    left join reviews on per_order.order_id = reviews.order_id
    group by per_order.product_id
),

final as (
    select
        totals.*,
        coalesce(products.product_category_name_english, products.product_category_name, 'unknown') as category,
        row_number() over (
            partition by products.product_category_name
            order by totals.revenue desc, totals.product_id
        ) as revenue_rank
    from totals
    left join {{ ref('dim_products') }} as products on totals.product_id = products.product_id
)

select * from final

-- model: seller_analytics
with reviews as (
    select order_id, sum(review_score) as score, count(*) as reviews
    from {{ ref('stg_order_reviews') }}
    group by order_id
),

per_order as (
    select
        seller_id,
        order_id,
        count(*) as items,
        sum(price) as revenue,
        bool_or(order_status = 'delivered') as is_delivered,
        bool_or(order_delivered_customer_date > order_estimated_delivery_date) as is_late
    from {{ ref('fact_sales') }}
    where order_status not in ('canceled', 'unavailable')
    group by seller_id, order_id
),

final as (
    select
        per_order.seller_id,
        max(sellers.seller_state) as state,
        count(*) as orders,
        sum(per_order.items) as items,
        sum(per_order.revenue) as revenue,
        count_if(per_order.is_delivered) as delivered_orders,
        count_if(per_order.is_late) as late_orders,
        cast(sum(reviews.score) as double) / sum(reviews.reviews) as average_review_score
    from per_order
    left join reviews on per_order.order_id = reviews.order_id
    left join {{ ref('dim_sellers') }} as sellers on per_order.seller_id = sellers.seller_id
    group by per_order.seller_id
)

select * from final

-- model: delivery_by_state_month
select
    coalesce(customers.customer_state, 'unknown') as state,
    cast(date_trunc('month', orders.order_purchase_timestamp) as date) as month,
    count(*) as delivered_orders,
    avg(date_diff('second', orders.order_purchase_timestamp, orders.order_delivered_customer_date)) / 86400 as average_days,
    count_if(orders.order_delivered_customer_date > orders.order_estimated_delivery_date) as late_orders
from {{ ref('stg_orders') }} as orders
left join {{ ref('stg_customers') }} as customers on orders.customer_id = customers.customer_id
where orders.order_status = 'delivered' and orders.order_delivered_customer_date is not null
group by 1, 2
