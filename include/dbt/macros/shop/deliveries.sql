{#- One row per accepted order that was delivered, with or without items. -#}
{% macro select_deliveries(orders, customers) -%}
    select
        orders.order_id,
        orders.customer_id,
        coalesce(customers.customer_state, 'unknown') as state,
        cast(date_trunc('month', orders.order_purchase_timestamp) as date) as month,
        date_diff(
            'second', orders.order_purchase_timestamp, orders.order_delivered_customer_date
        ) as seconds,
        orders.order_delivered_customer_date > orders.order_estimated_delivery_date as is_late
    from {{ orders }} as orders
    left join {{ customers }} as customers
        on orders.customer_id = customers.customer_id and customers._state = 'current'
    where
        orders._state = 'current'
        and orders.order_status = 'delivered'
        and orders.order_delivered_customer_date is not null
{%- endmacro %}
