{#-
  The rows of an order agree on the order's own columns, and their shares add up to its payments. Whole orders are
  tested, because a run may have changed only one of their rows.
-#}
{% test order_integrity(model, payments) %}
{{ config(meta={'whole_table': true}) }}
with facts as (
    select * from {{ model }}
),

in_scope as (
    select distinct order_id
    from facts
    where {{ tested_rows() }}
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
    where order_id in (select order_id from in_scope)
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
