with changed_orders as (
    select order_id from {{ ref('stg_orders') }} where {{ is_changed() }}
),

changed_customers as (
    select customer_id from {{ ref('stg_customers') }} where {{ is_changed() }}
),

deliveries as (
    {{ select_deliveries(ref('stg_orders'), ref('stg_customers')) }}
),

published_deliveries as (
    {{ select_deliveries(as_published(ref('stg_orders')), as_published(ref('stg_customers'))) }}
),

all_deliveries as (
    select * from deliveries
    union all
    select * from published_deliveries
),

affected as (
    select state, month from all_deliveries
    {%- if not compares_whole() %}
    where
        order_id in (select order_id from changed_orders)
        or customer_id in (select customer_id from changed_customers)
    {%- endif %}
    union
    {{ unpublished_keys(['state', 'month']) }}
),

totals as (
    select
        affected.state,
        affected.month,
        count(deliveries.order_id) as delivered_orders,
        sum(deliveries.seconds) as seconds,
        count_if(deliveries.is_late) as late_orders
    from deliveries
    right join affected
        on deliveries.state = affected.state and deliveries.month = affected.month
    group by affected.state, affected.month
),

final as (
    select
        state,
        month,
        delivered_orders,
        {{ quotient('seconds', '86400 * delivered_orders', 2) }} as average_days,
        late_orders,
        {{ quotient('late_orders', 'delivered_orders', 4) }} as late_share,
        {{ batch_if('delivered_orders > 0') }} as _batch
    from totals
)

select * from final
