-- Apply a burst of trade at the current time. Parameter: orders (about how many orders are placed, advanced and
-- reviewed). Returns the number of rows for each kind of change.
-- `tablesample` reads about 50 pages of a table, however large the table is, so that a burst is fast in any shop.
-- Bad rows are not copied, and rows with a bad key are not changed. The patterns below exclude them, because values that
-- anomalies.py has made invalid are no plain words or numbers.

with offers as materialized (
    select
        product_id,
        seller_id,
        price,
        freight_value,
        row_number() over (order by random()) as number,
        count(*) over () as offers
    from sales.order_items
        tablesample system (least(100, 4.096e7 / greatest(1, pg_relation_size('sales.order_items'))))
    where price ~ '^\d{1,6}(\.\d{1,2})?$' and freight_value ~ '^\d{1,6}(\.\d{1,2})?$'
        and product_id ~ '^\w+$' and seller_id ~ '^\w+$'
),

buyers as materialized (
    select
        customer_unique_id,
        customer_zip_code_prefix,
        customer_city,
        customer_state,
        ctid as place,
        row_number() over (order by random()) as number
    from sales.customers
        tablesample system (least(100, 4.096e7 / greatest(1, pg_relation_size('sales.customers'))))
    where customer_id ~ '^\w+$'
        and customer_state ~ '^(A[CLMP]|BA|CE|DF|ES|GO|M[AGST]|P[ABEIR]|R[JNORS]|S[CEP]|TO)$'
),

goods as materialized (
    select
        product_category_name,
        ctid as place,
        row_number() over (order by random()) as number
    from sales.products
        tablesample system (least(100, 4.096e7 / greatest(1, pg_relation_size('sales.products'))))
    where product_id ~ '^\w+$' and coalesce(product_category_name, 'none') ~ '^\w+$'
),

placed as materialized (
    select
        number,
        replace(gen_random_uuid()::text, '-', '') as order_id,
        replace(gen_random_uuid()::text, '-', '') as customer_id,
        date_trunc('second', now() at time zone 'UTC') as purchased,
        1 + floor(3 * random() ^ 4)::integer as items
    from generate_series(1, %(orders)s) as number
    where exists (select from offers) and exists (select from buyers)
),

picked as materialized (
    select
        placed.order_id,
        placed.purchased,
        item,
        1 + floor(random() * (select max(offers) from offers))::bigint as offer
    from placed
    cross join lateral generate_series(1, placed.items) as item
),

sold as materialized (
    select picked.*, offers.*
    from picked
    inner join offers on offers.number = picked.offer
),

insert_customers as (
    insert into sales.customers (
        customer_id,
        customer_unique_id,
        customer_zip_code_prefix,
        customer_city,
        customer_state
    )
    select
        placed.customer_id,
        case when random() < 0.034 then buyers.customer_unique_id else md5(placed.customer_id) end,
        buyers.customer_zip_code_prefix,
        buyers.customer_city,
        buyers.customer_state
    from placed
    inner join buyers on buyers.number = 1 + mod(placed.number, (select count(*) from buyers))
    returning 1
),

insert_orders as (
    insert into sales.orders (
        order_id,
        customer_id,
        order_status,
        order_purchase_timestamp,
        order_estimated_delivery_date
    )
    select
        order_id,
        customer_id,
        'created',
        purchased::text,
        (date_trunc('day', purchased) + interval '24 days')::text
    from placed
    returning 1
),

insert_items as (
    insert into sales.order_items (
        order_id,
        order_item_id,
        product_id,
        seller_id,
        shipping_limit_date,
        price,
        freight_value
    )
    select order_id, item::text, product_id, seller_id, (purchased + interval '6 days')::text, price, freight_value
    from sold
    returning 1
),

insert_payments as (
    insert into sales.order_payments (
        order_id,
        payment_sequential,
        payment_type,
        payment_installments,
        payment_value
    )
    select order_id, '1', 'credit_card', '1', sum(price::numeric(18, 2) + freight_value::numeric(18, 2))::text
    from sold
    group by order_id
    returning 1
),

open as materialized (
    select
        orders.ctid as place,
        -- An order's next event is up to three days after its last one, and never in the future.
        case
            when pg_input_is_valid(last_event, 'timestamp')
                then date_trunc('second', least(
                    now() at time zone 'UTC', last_event::timestamp + random() * interval '3 days'
                ))::text
            else date_trunc('second', now() at time zone 'UTC')::text
        end as at,
        case
            when order_status in ('created', 'approved') and random() < 0.03 then 'canceled'
            else (array['approved', 'invoiced', 'processing', 'shipped', 'delivered'])[
                array_position(array['created', 'approved', 'invoiced', 'processing', 'shipped'], order_status)
            ]
        end as next_status
    from sales.orders
    cross join lateral (
        select coalesce(order_delivered_carrier_date, order_approved_at, order_purchase_timestamp) as last_event
    ) as so_far
    where order_status in ('created', 'approved', 'invoiced', 'processing', 'shipped')
        and order_id ~ '^\w+$'
    order by random()
    limit %(orders)s * 2
    for update of orders skip locked
),

move_on as (
    update sales.orders
    set
        order_status = next_status,
        order_approved_at = case when next_status = 'approved' then at else order_approved_at end,
        order_delivered_carrier_date = case when next_status = 'shipped' then at else order_delivered_carrier_date end,
        order_delivered_customer_date = case when next_status = 'delivered' then at else order_delivered_customer_date end
    from open
    where orders.ctid = open.place
    returning orders.order_id, orders.order_status
),

-- Orders that are delivered now, and orders that were delivered in the last day and have no review.
to_review as (
    select order_id
    from move_on
    where order_status = 'delivered'
    union
    select order_id
    from sales.orders
    where order_status = 'delivered'
        and order_id ~ '^\w+$'
        and updated_at > now() - interval '1 day'
        and not exists (
            select from sales.order_reviews as review
            where review.order_id = orders.order_id and review.updated_at > now() - interval '1 day'
        )
    limit %(orders)s
),

insert_reviews as (
    insert into sales.order_reviews (
        review_id,
        order_id,
        review_score,
        review_comment_message,
        review_creation_date,
        review_answer_timestamp
    )
    select
        replace(gen_random_uuid()::text, '-', ''),
        order_id,
        (array['5', '5', '5', '4', '3', '1'])[1 + floor(6 * random())::integer],
        case when random() < 0.4 then 'Recebi bem' end,
        date_trunc('day', now() at time zone 'UTC')::text,
        date_trunc('second', now() at time zone 'UTC')::text
    from to_review
    returning 1
),

-- A tenth of `orders` customers get the address of another customer, and as many products get another category and
-- weight.
move_customers as (
    update sales.customers
    set
        customer_zip_code_prefix = other.customer_zip_code_prefix,
        customer_city = other.customer_city,
        customer_state = other.customer_state
    from buyers
    inner join buyers as other on other.number = (select count(*) from buyers) + 1 - buyers.number
    where buyers.number <= %(orders)s / 10.0 + random()
        and customers.ctid = buyers.place
    returning 1
),

change_products as (
    update sales.products
    set
        product_category_name = other.product_category_name,
        product_weight_g = (100 + floor(900 * random()))::text
    from goods
    inner join goods as other on other.number = (select count(*) from goods) + 1 - goods.number
    where goods.number <= %(orders)s / 10.0 + random()
        and products.ctid = goods.place
    returning 1
),

final as (
    select 'orders placed' as change, (select count(*) from insert_orders) as rows
    union all
    select 'customers added', (select count(*) from insert_customers)
    union all
    select 'items sold', (select count(*) from insert_items)
    union all
    select 'payments made', (select count(*) from insert_payments)
    union all
    select 'orders moved on', (select count(*) from move_on)
    union all
    select 'reviews written', (select count(*) from insert_reviews)
    union all
    select 'customers moved', (select count(*) from move_customers)
    union all
    select 'products changed', (select count(*) from change_products)
)

select * from final;
