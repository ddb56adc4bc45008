-- Delete a tenth of `orders` (the parameter) orders with all their rows, and the same number of single reviews and of
-- single items, at least one of each. Returns the number of deleted rows by kind.

with doomed as materialized (
    select order_id, customer_id
    from sales.orders
        tablesample system (least(100, 4.096e7 / greatest(1, pg_relation_size('sales.orders'))))
    where order_id is not null
    order by random()
    limit ceil(%(orders)s / 10.0)
),

doomed_reviews as materialized (
    select ctid as place
    from sales.order_reviews
        tablesample system (least(100, 4.096e7 / greatest(1, pg_relation_size('sales.order_reviews'))))
    order by random()
    limit ceil(%(orders)s / 10.0)
),

doomed_items as materialized (
    select ctid as place
    from sales.order_items
        tablesample system (least(100, 4.096e7 / greatest(1, pg_relation_size('sales.order_items'))))
    order by random()
    limit ceil(%(orders)s / 10.0)
),

delete_orders as (
    delete from sales.orders where order_id in (select order_id from doomed) returning 1
),

delete_customers as (
    delete from sales.customers where customer_id in (select customer_id from doomed) returning 1
),

delete_items as (
    delete from sales.order_items
    where order_id in (select order_id from doomed) or ctid in (select place from doomed_items)
    returning 1
),

delete_payments as (
    delete from sales.order_payments where order_id in (select order_id from doomed) returning 1
),

delete_reviews as (
    delete from sales.order_reviews
    where order_id in (select order_id from doomed) or ctid in (select place from doomed_reviews)
    returning 1
),

final as (
    select 'orders deleted' as change, (select count(*) from delete_orders) as rows
    union all
    select 'customers deleted', (select count(*) from delete_customers)
    union all
    select 'items deleted', (select count(*) from delete_items)
    union all
    select 'payments deleted', (select count(*) from delete_payments)
    union all
    select 'reviews deleted', (select count(*) from delete_reviews)
)

select * from final;
