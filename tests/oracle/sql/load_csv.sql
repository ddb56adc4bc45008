-- Set `updated_at` as the shop's loader does. Orders get the time of their latest event, items and payments that of the
-- purchase, reviews that of the answer. Other tables, and rows without such a time, get the day before the first
-- purchase.
create temp table load_time as
select coalesce(min(parse_timestamp(order_purchase_timestamp)) - interval 1 day, timestamp '1970-01-01') as day_before
from csv.orders;

create temp table purchases as
select
    order_id,
    max(parse_timestamp(order_purchase_timestamp)) as purchased_at
from csv.orders
group by order_id;

create table source.orders as
select
    *,
    coalesce(
        greatest(
            parse_timestamp(order_purchase_timestamp),
            parse_timestamp(order_approved_at),
            parse_timestamp(order_delivered_carrier_date),
            parse_timestamp(order_delivered_customer_date)
        ),
        day_before
    ) as updated_at
from csv.orders cross join load_time;

create table source.order_items as
select
    order_items.*,
    coalesce(purchased_at, day_before) as updated_at
from csv.order_items left join purchases using (order_id) cross join load_time;

create table source.order_payments as
select
    order_payments.*,
    coalesce(purchased_at, day_before) as updated_at
from csv.order_payments left join purchases using (order_id) cross join load_time;

create table source.order_reviews as
select
    *,
    coalesce(parse_timestamp(review_answer_timestamp), day_before) as updated_at
from csv.order_reviews cross join load_time;

create table source.customers as
select *, day_before as updated_at from csv.customers cross join load_time;

create table source.sellers as
select *, day_before as updated_at from csv.sellers cross join load_time;

create table source.products as
select *, day_before as updated_at from csv.products cross join load_time;

create table source.product_category_name_translation as
select *, day_before as updated_at from csv.product_category_name_translation cross join load_time;

-- The shop's identity column numbers the rows in the order of the file.
create table source.geolocation as
select row_number() over () as geolocation_id, *, day_before as updated_at from csv.geolocation cross join load_time;
