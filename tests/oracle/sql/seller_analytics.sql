with
sold as (
    select
        seller_id,
        count(distinct order_id) as orders,
        count(*) as items,
        sum(price)::decimal(18, 2) as revenue
    from sales
    where seller_id is not null
    group by seller_id
),

orders_of_seller as (
    select distinct
        seller_id,
        order_id,
        order_status = 'delivered' and order_delivered_customer_date is not null as delivered,
        delivered and coalesce(order_delivered_customer_date > order_estimated_delivery_date, false) as late
    from sales
),

delivered as (
    select
        seller_id,
        count(*) filter (delivered) as delivered_orders,
        count(*) filter (late) as late_orders
    from orders_of_seller
    group by seller_id
),

reviewed as (
    select
        seller_id,
        average(sum(review_score), count(*)) as average_review_score
    from orders_of_seller
    inner join stg.order_reviews using (order_id)
    group by seller_id
),

final as (
    select
        seller_id,
        coalesce(seller_state, 'unknown') as state,
        orders,
        items,
        revenue,
        delivered_orders,
        late_orders,
        share(late_orders, delivered_orders) as late_share,
        average_review_score
    from sold
    inner join delivered using (seller_id)
    left join reviewed using (seller_id)
    left join dim_sellers using (seller_id)
)

select * from final
