with {{ sales_ctes(categories=true, reviews=true) }},

reviews as (
    {{ reviews_per_order() }}
),

-- A product's rank depends on all products of its category, so the whole category is recomputed.
affected as (
    select category from changed_sales
    union
    {{ unpublished_keys(['category']) }}
),

-- The products that the table already has are included: one whose last sale is gone must be deleted.
candidates as (
    select product_id, category, order_id, price from sales
    where product_id is not null
    union all
    select product_id, category, null, null from {{ this }}
),

per_order as (
    select
        candidates.product_id,
        candidates.order_id,
        max(candidates.category) as category,
        count(candidates.order_id) as units,
        sum(candidates.price) as revenue
    from candidates
    inner join affected on candidates.category = affected.category
    group by candidates.product_id, candidates.order_id
),

totals as (
    select
        per_order.product_id,
        max(per_order.category) filter (where per_order.order_id is not null) as category,
        sum(per_order.units) as units,
        count(per_order.order_id) as orders,
        cast(sum(per_order.revenue) as decimal(18, 2)) as revenue,
        {{ quotient('sum(reviews.score)', 'sum(reviews.reviews)', 2) }} as average_review_score
    from reviews
    right join per_order on reviews.order_id = per_order.order_id
    group by per_order.product_id
),

final as (
    select
        *,
        {{ quotient('revenue', 'units', 2) }} as average_price,
        row_number() over (partition by category order by revenue desc, product_id) as revenue_rank,
        {{ batch_if('orders > 0') }} as _batch
    from totals
)

select * from final
