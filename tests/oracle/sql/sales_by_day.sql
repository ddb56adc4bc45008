with
final as (
    select
        order_purchase_timestamp::date as day,
        count(distinct order_id) as orders,
        count(*) as items,
        count(distinct customer_unique_id) as customers,
        sum(price)::decimal(18, 2) as item_revenue,
        sum(freight_value)::decimal(18, 2) as freight,
        sum(payment_value)::decimal(18, 2) as payments
    from sales
    group by 1
)

select * from final
