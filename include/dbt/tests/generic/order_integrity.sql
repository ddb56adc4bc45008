{#- All the rows of an order agree on the order's own columns, and their shares add up to its payments. -#}
{% test order_integrity(model, payments) %}
with facts as (
    select * from {{ model }}
),

paid as (
    select order_id, sum(payment_value) as payment_value
    from {{ payments }}
    where _state = 'current'
    group by order_id
),

per_order as (
    select
        order_id,
        count(distinct order_status) as statuses,
        count(distinct customer_id) as customers,
        count(distinct order_purchase_timestamp) as purchases,
        sum(payment_value) as payment_value
    from facts
    group by order_id
),

final as (
    select per_order.*, paid.payment_value as paid
    from per_order
    left join paid on per_order.order_id = paid.order_id
    where
        per_order.statuses > 1
        or per_order.customers > 1
        or per_order.purchases > 1
        or per_order.payment_value <> coalesce(paid.payment_value, 0)
)

select * from final
{% endtest %}
