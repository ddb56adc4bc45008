with
sold as (
    select
        product_id,
        any_value(category) as category,
        count(*) as units,
        count(distinct order_id) as orders,
        sum(price)::decimal(18, 2) as revenue,
        average(sum(price), count(*)) as average_price
    from sales
    where product_id is not null
    group by product_id
),

orders_of_product as (
    select distinct
        product_id,
        order_id
    from sales
),

reviewed as (
    select
        product_id,
        average(sum(review_score), count(*)) as average_review_score
    from orders_of_product
    inner join stg.order_reviews using (order_id)
    group by product_id
),

final as (
    select
        sold.*,
        average_review_score,
        row_number() over (partition by category order by revenue desc, product_id) as revenue_rank
    from sold
    left join reviewed using (product_id)
)

select * from final
