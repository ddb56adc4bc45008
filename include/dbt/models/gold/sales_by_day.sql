with {{ sales_ctes(customers=true) }},

affected as (
    select day from changed_sales
    union
    {{ unpublished_keys(['day']) }}
),

totals as (
    select
        affected.day,
        count(distinct sales.order_id) as orders,
        count(sales.order_id) as items,
        count(distinct sales.customer_unique_id) as customers,
        cast(sum(sales.price) as decimal(18, 2)) as item_revenue,
        cast(sum(sales.freight_value) as decimal(18, 2)) as freight,
        cast(sum(sales.payment_value) as decimal(18, 2)) as payments
    from sales
    right join affected on sales.day = affected.day
    group by affected.day
),

final as (
    select
        *,
        {{ batch_if('items > 0') }} as _batch
    from totals
)

select * from final
