-- Change existing rows: orders with their items, payments and reviews, and also some customers, products and sellers.
-- Parameters:
-- orders, customers, products, sellers: the number of rows to change.
-- days: only orders that were purchased in this many days before the last purchase are changed.
-- since, until: the changes' times are spread over this range (UTC); null means now.
-- Only rows that have not changed since `since` are changed. Values that anomalies.py has made invalid are not changed.

with range as materialized (
    select
        coalesce(%(since)s::timestamptz, now()) as since,
        coalesce(%(until)s::timestamptz, now()) as until
),

last_purchase as materialized (
    select max(order_purchase_timestamp::timestamp) as at
    from sales.orders
    where pg_input_is_valid(order_purchase_timestamp, 'timestamp')
),

picked as materialized (
    select
        order_id,
        since + random() * (until - since) as at
    from sales.orders
    cross join range
    cross join last_purchase
    -- The column is text. Texts of this format sort like the times.
    where order_purchase_timestamp > (last_purchase.at - %(days)s * interval '1 day')::text
        and order_purchase_timestamp <= last_purchase.at::text
        and updated_at < since
        and pg_input_is_valid(order_estimated_delivery_date, 'timestamp')
    order by random()
    limit %(orders)s
),

change_orders as (
    update sales.orders
    set
        order_estimated_delivery_date = (order_estimated_delivery_date::timestamp + interval '1 day')::text,
        updated_at = picked.at
    from picked
    where orders.order_id = picked.order_id
    returning 1
),

change_items as (
    update sales.order_items
    set price = (price::numeric(18, 2) + 0.01)::text, updated_at = picked.at
    from picked
    where order_items.order_id = picked.order_id and price ~ '^\d{1,6}(\.\d{1,2})?$'
    returning 1
),

change_payments as (
    update sales.order_payments
    set payment_value = (payment_value::numeric(18, 2) + 0.01)::text, updated_at = picked.at
    from picked
    where order_payments.order_id = picked.order_id and payment_value ~ '^\d{1,6}(\.\d{1,2})?$'
    returning 1
),

change_reviews as (
    update sales.order_reviews
    set review_score = (1 + mod(review_score::integer, 5))::text, updated_at = picked.at
    from picked
    where order_reviews.order_id = picked.order_id and review_score ~ '^[1-5]$'
    returning 1
),

other_customers as materialized (
    select customer_id, since + random() * (until - since) as at
    from sales.customers
    cross join range
    where updated_at < since
    order by random()
    limit %(customers)s
),

change_customers as (
    update sales.customers
    set customer_state = case customer_state when 'SP' then 'RJ' else 'SP' end, updated_at = other_customers.at
    from other_customers
    where customers.customer_id = other_customers.customer_id
    returning 1
),

other_products as materialized (
    select product_id, since + random() * (until - since) as at
    from sales.products
    cross join range
    where updated_at < since and product_weight_g ~ '^\d{1,6}$'
    order by random()
    limit %(products)s
),

change_products as (
    update sales.products
    set product_weight_g = (product_weight_g::integer + 1)::text, updated_at = other_products.at
    from other_products
    where products.product_id = other_products.product_id
    returning 1
),

other_sellers as materialized (
    select seller_id, since + random() * (until - since) as at
    from sales.sellers
    cross join range
    where updated_at < since
    order by random()
    limit %(sellers)s
),

change_sellers as (
    update sales.sellers
    set seller_state = case seller_state when 'SP' then 'RJ' else 'SP' end, updated_at = other_sellers.at
    from other_sellers
    where sellers.seller_id = other_sellers.seller_id
    returning 1
),

final as (
    select 'orders' as change, (select count(*) from change_orders) as rows
    union all
    select 'items', (select count(*) from change_items)
    union all
    select 'payments', (select count(*) from change_payments)
    union all
    select 'reviews', (select count(*) from change_reviews)
    union all
    select 'customers', (select count(*) from change_customers)
    union all
    select 'products', (select count(*) from change_products)
    union all
    select 'sellers', (select count(*) from change_sellers)
)

select * from final;
