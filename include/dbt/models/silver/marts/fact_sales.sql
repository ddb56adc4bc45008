with orders as (
    select * from {{ ref('stg_orders') }} where _state = 'current'
),

items as (
    select * from {{ ref('stg_order_items') }} where _state = 'current'
),

payments as (
    select * from {{ ref('stg_order_payments') }} where _state = 'current'
),

affected as (
    {{ changed_orders() }}
),

paid as (
    select
        order_id,
        cast(sum(payment_value) * 100 as decimal(38, 0)) as paid_cents
    from payments
    where order_id in (select order_id from affected)
    group by order_id
),

weighted as (
    select
        items.*,
        coalesce(paid.paid_cents, 0) as paid_cents,
        cast((items.price + items.freight_value) * 100 as decimal(38, 0)) as weight,
        sum(cast((items.price + items.freight_value) * 100 as decimal(28, 0)))
            over (partition by items.order_id) as order_weight,
        count(*) over (partition by items.order_id) as order_items,
        row_number()
            over (partition by items.order_id order by items.order_item_id desc) as from_last
    from items
    left join paid on items.order_id = paid.order_id
    where items.order_id in (select order_id from affected)
),

-- Each share in whole cents, rounded down.
floored as (
    select
        *,
        case
            when order_weight > 0 then (paid_cents * weight) div order_weight
            else paid_cents div order_items
        end as share_cents
    from weighted
),

-- The remaining cents go to the last item, so that an order's shares add up to its payments.
shared as (
    select
        *,
        share_cents + case
            when from_last = 1
                then paid_cents - sum(share_cents) over (partition by order_id)
            else 0
        end as value_cents
    from floored
),

rebuilt as (
    select
        shared.order_id,
        shared.order_item_id,
        shared.product_id,
        shared.seller_id,
        orders.customer_id,
        orders.order_status,
        orders.order_purchase_timestamp,
        orders.order_approved_at,
        orders.order_delivered_carrier_date,
        orders.order_delivered_customer_date,
        orders.order_estimated_delivery_date,
        shared.price,
        shared.freight_value,
        cast(shared.value_cents / 100 as decimal(18, 2)) as payment_value,
        shared._first_extracted_at as created_at
    from shared
    inner join orders on shared.order_id = orders.order_id
),

final as (
    {{ with_deleted_keys('rebuilt', 'affected', ['order_id']) }}
)

select * from final
