with
paid as (
    select
        order_id,
        sum(to_cents(payment_value)) as cents
    from stg.order_payments
    group by order_id
),

weighed as (
    select
        *,
        to_cents(price) + to_cents(freight_value) as weight,
        sum(to_cents(price) + to_cents(freight_value)) over (partition by order_id) as total_weight,
        count(*) over (partition by order_id)::hugeint as n,
        order_item_id = max(order_item_id) over (partition by order_id) as takes_rest,
        coalesce(cents, 0) as paid_cents
    from stg.order_items
    left join paid using (order_id)
),

floored as (
    select
        *,
        case when total_weight > 0 then paid_cents * weight // total_weight else paid_cents // n end as floor_cents
    from weighed
),

shared as (
    select
        *,
        floor_cents + case
            when takes_rest then paid_cents - sum(floor_cents) over (partition by order_id) else 0
        end as share_cents
    from floored
),

final as (
    select
        order_id,
        order_item_id,
        product_id,
        seller_id,
        customer_id,
        order_status,
        order_purchase_timestamp,
        order_approved_at,
        order_delivered_carrier_date,
        order_delivered_customer_date,
        order_estimated_delivery_date,
        price,
        freight_value,
        hundredths(share_cents) as payment_value
    from shared
    inner join stg.orders using (order_id)
)

select * from final
