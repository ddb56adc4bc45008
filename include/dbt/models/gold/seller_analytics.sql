with {{ sales_ctes(reviewed=true) }},

sellers as (
    select * from {{ ref('dim_sellers') }}
),

affected as (
    select seller_id from changed_sales
    union
    select seller_id from {{ ref('stg_sellers') }} where {{ is_changed() }}
    union
    {{ unpublished_keys(['seller_id']) }}
),

affected_sales as (
    select sales.*
    from sales
    inner join affected on sales.seller_id = affected.seller_id
),

reviews as (
    {{ average_review_score('seller_id') }}
),

totals as (
    select
        seller_id,
        count(distinct order_id) as orders,
        count(*) as items,
        cast(sum(price) as decimal(18, 2)) as revenue,
        count(distinct order_id) filter (
            where order_status = 'delivered' and order_delivered_customer_date is not null
        ) as delivered_orders,
        count(distinct order_id) filter (
            where
                order_status = 'delivered'
                and order_delivered_customer_date > order_estimated_delivery_date
        ) as late_orders
    from affected_sales
    group by seller_id
),

remade as (
    select
        totals.*,
        coalesce(sellers.seller_state, 'unknown') as state,
        {{ quotient('totals.late_orders', 'totals.delivered_orders', 4) }} as late_share,
        reviews.average_review_score
    from totals
    left join sellers on totals.seller_id = sellers.seller_id
    left join reviews on totals.seller_id = reviews.seller_id
),

final as (
    {{ with_vanished('remade', 'affected', ['seller_id']) }}
)

select * from final
