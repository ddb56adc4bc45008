with changed_orders as (
    select order_id from {{ ref('stg_orders') }} where {{ is_changed() }}
),

changed_customers as (
    select customer_id from {{ ref('stg_customers') }} where {{ is_changed() }}
),

deliveries as (
    {{ deliveries_of(ref('stg_orders'), ref('stg_customers')) }}
),

published_deliveries as (
    {{ deliveries_of(as_published(ref('stg_orders')), as_published(ref('stg_customers'))) }}
),

affected as (
    {% for state in ['deliveries', 'published_deliveries'] -%}
    select state, month from {{ state }}
    where
        order_id in (select order_id from changed_orders)
        or customer_id in (select customer_id from changed_customers)
    union
    {% endfor -%}
    {{ unpublished_keys(['state', 'month']) }}
),

remade as (
    select
        deliveries.state,
        deliveries.month,
        count(*) as delivered_orders,
        {{ quotient('sum(seconds)', '86400 * count(*)', 2) }} as average_days,
        count_if(is_late) as late_orders,
        {{ quotient('count_if(is_late)', 'count(*)', 4) }} as late_share
    from deliveries
    inner join affected
        on deliveries.state = affected.state and deliveries.month = affected.month
    group by deliveries.state, deliveries.month
),

final as (
    {{ with_vanished('remade', 'affected', ['state', 'month']) }}
)

select * from final
