with
delivered as (
    select
        coalesce(customer_state, 'unknown') as state,
        date_trunc('month', order_purchase_timestamp)::date as month,
        date_diff('second', order_purchase_timestamp, order_delivered_customer_date) as seconds,
        coalesce(order_delivered_customer_date > order_estimated_delivery_date, false) as late
    from stg.orders
    left join stg.customers using (customer_id)
    where order_status = 'delivered' and order_delivered_customer_date is not null
),

final as (
    select
        state,
        month,
        count(*) as delivered_orders,
        hundredths(round_quotient(sum(seconds) * 100, count(*) * 86400)) as average_days,
        count(*) filter (late) as late_orders,
        share(count(*) filter (late), count(*)) as late_share
    from delivered
    group by 1, 2
)

select * from final
