with {{ sales_ctes(reviewed=true) }},

-- A product's rank depends on all the products of its category.
affected as (
    select category from changed_sales
    union
    {{ unpublished_keys(['category']) }}
),

affected_sales as (
    select sales.*
    from sales
    inner join affected on sales.category = affected.category
    where sales.product_id is not null
),

reviews as (
    {{ average_review_score('product_id') }}
),

totals as (
    select
        product_id,
        category,
        count(*) as units,
        count(distinct order_id) as orders,
        cast(sum(price) as decimal(18, 2)) as revenue,
        {{ quotient('sum(price)', 'count(*)', 2) }} as average_price
    from affected_sales
    group by product_id, category
),

remade as (
    select
        totals.*,
        reviews.average_review_score,
        row_number() over (
            partition by totals.category
            order by totals.revenue desc, totals.product_id
        ) as revenue_rank
    from totals
    left join reviews on totals.product_id = reviews.product_id
),

final as (
    {{ with_vanished('remade', 'affected', ['category']) }}
)

select * from final
