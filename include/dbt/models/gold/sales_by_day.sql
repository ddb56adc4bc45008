with {{ sales_ctes() }},

affected as (
    select day from changed_sales
    union
    {{ unpublished_keys(['day']) }}
),

affected_sales as (
    select sales.*
    from sales
    inner join affected on sales.day = affected.day
),

remade as (
    select
        day,
        count(distinct order_id) as orders,
        count(*) as items,
        count(distinct customer_unique_id) as customers,
        cast(sum(price) as decimal(18, 2)) as item_revenue,
        cast(sum(freight_value) as decimal(18, 2)) as freight,
        cast(sum(payment_value) as decimal(18, 2)) as payments
    from affected_sales
    group by day
),

final as (
    {{ with_vanished('remade', 'affected', ['day']) }}
)

select * from final
