with
final as (
    select
        customer_unique_id,
        arg_max(customer_state, (order_purchase_timestamp, order_id)) as state,
        min(order_purchase_timestamp) as first_order_at,
        max(order_purchase_timestamp) as last_order_at,
        count(distinct order_id) as orders,
        count(*) as items,
        sum(payment_value)::decimal(18, 2) as total_spent,
        average(sum(payment_value), count(distinct order_id)) as average_order_value,
        case
            when count(distinct order_id) = 1 then 'one-time'
            when count(distinct order_id) <= 3 then 'repeat'
            else 'loyal'
        end as segment
    from sales
    where customer_unique_id is not null
    group by customer_unique_id
)

select * from final
