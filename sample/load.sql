-- Copy the CSV rows from the temporary tables stage_* into the tables of `sales`, and set `updated_at`, which the files
-- do not have. It is the time at which the shop would have written the row. It is computed from the times in the files,
-- which are UTC. Unparsable times are ignored.

create or replace function pg_temp.as_time(value text) returns timestamptz stable as $$
    -- Convert like the pipeline: remove white space, format characters and control characters at both ends first.
    select case
        when text ~ '^\d{4}-\d\d-\d\d ([01]\d|2[0-3]):[0-5]\d:[0-5]\d$' and pg_input_is_valid(text, 'timestamp')
            then text::timestamp at time zone 'UTC'
    end
    from regexp_replace(
        value,
        '^[\s\u0001-\u0020\u007f-\u00a0\u00ad\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]+'
        '|[\s\u0001-\u0020\u007f-\u00a0\u00ad\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]+$',
        '', 'g'
    ) as text
$$ language sql;

create temp table stage_reference on commit drop as
-- The `updated_at` of customers, sellers, products, translations and geolocation: the day before the first purchase.
select
    least(now(), greatest(
        coalesce(min(pg_temp.as_time(order_purchase_timestamp)), now()) - interval '1 day',
        '0001-01-01 00:00:00+00'  -- most clients can't show years before 1
    )) as at
from stage_orders;

create temp table stage_purchases on commit drop as
select
    order_id,
    max(pg_temp.as_time(order_purchase_timestamp)) as at
from stage_orders
group by order_id;

-- Each insert lists the file's columns, in the order of the table, then `updated_at`. A time in the future is replaced
-- by now, because no hourly window reaches the future.

insert into sales.customers
select stage.*, reference.at from stage_customers as stage cross join stage_reference as reference;

insert into sales.sellers
select stage.*, reference.at from stage_sellers as stage cross join stage_reference as reference;

insert into sales.products
select stage.*, reference.at from stage_products as stage cross join stage_reference as reference;

insert into sales.product_category_name_translation
select stage.*, reference.at
from stage_product_category_name_translation as stage cross join stage_reference as reference;

insert into sales.geolocation
select stage.*, reference.at from stage_geolocation as stage cross join stage_reference as reference;

insert into sales.orders
select
    stage.*,
    least(now(), coalesce(
        greatest(
            pg_temp.as_time(order_purchase_timestamp),
            pg_temp.as_time(order_approved_at),
            pg_temp.as_time(order_delivered_carrier_date),
            pg_temp.as_time(order_delivered_customer_date)
        ),
        reference.at
    ))
from stage_orders as stage
cross join stage_reference as reference;

insert into sales.order_items
select stage.*, least(now(), coalesce(purchases.at, reference.at))
from stage_order_items as stage
cross join stage_reference as reference
left join stage_purchases as purchases using (order_id);

insert into sales.order_payments
select stage.*, least(now(), coalesce(purchases.at, reference.at))
from stage_order_payments as stage
cross join stage_reference as reference
left join stage_purchases as purchases using (order_id);

insert into sales.order_reviews
select stage.*, least(now(), coalesce(pg_temp.as_time(review_answer_timestamp), reference.at))
from stage_order_reviews as stage
cross join stage_reference as reference;
