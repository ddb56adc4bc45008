with {{ sales_ctes(reviews=true) }},

sellers as (
    select * from {{ ref('dim_sellers') }}
),

changed_sellers as (
    select seller_id from {{ ref('stg_sellers') }} where {{ is_changed() }}
),

reviews as (
    {{ reviews_per_order() }}
),

affected as (
    select seller_id from changed_sales
    where seller_id is not null
    union
    select seller_id from changed_sellers
    where seller_id is not null
    union
    {{ unpublished_keys(['seller_id']) }}
),

per_order as (
    select
        affected.seller_id,
        sales.order_id,
        count(sales.order_id) as items,
        sum(sales.price) as revenue,
        bool_or(
            sales.order_status = 'delivered' and sales.order_delivered_customer_date is not null
        ) as is_delivered,
        bool_or(
            sales.order_status = 'delivered'
            and sales.order_delivered_customer_date > sales.order_estimated_delivery_date
        ) as is_late
    from sales
    right join affected on sales.seller_id = affected.seller_id
    group by affected.seller_id, sales.order_id
),

totals as (
    select
        per_order.seller_id,
        count(per_order.order_id) as orders,
        sum(per_order.items) as items,
        cast(sum(per_order.revenue) as decimal(18, 2)) as revenue,
        count_if(per_order.is_delivered) as delivered_orders,
        count_if(per_order.is_late) as late_orders,
        {{ quotient('sum(reviews.score)', 'sum(reviews.reviews)', 2) }} as average_review_score
    from reviews
    right join per_order on reviews.order_id = per_order.order_id
    group by per_order.seller_id
),

final as (
    select
        totals.*,
        coalesce(sellers.seller_state, 'unknown') as state,
        {{ quotient('totals.late_orders', 'totals.delivered_orders', 4) }} as late_share,
        {{ batch_if('totals.orders > 0') }} as _batch
    from totals
    left join sellers on totals.seller_id = sellers.seller_id
)

select * from final
