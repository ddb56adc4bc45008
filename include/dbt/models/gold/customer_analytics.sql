with {{ sales_ctes() }},

affected as (
    select customer_unique_id from changed_sales
    union
    {{ unpublished_keys(['customer_unique_id']) }}
),

affected_sales as (
    select sales.*
    from sales
    inner join affected on sales.customer_unique_id = affected.customer_unique_id
),

totals as (
    select
        customer_unique_id,
        max_by(state, row(order_purchase_timestamp, order_id)) as state,
        min(order_purchase_timestamp) as first_order_at,
        max(order_purchase_timestamp) as last_order_at,
        count(distinct order_id) as orders,
        count(*) as items,
        cast(sum(payment_value) as decimal(18, 2)) as total_spent
    from affected_sales
    group by customer_unique_id
),

remade as (
    select
        *,
        {{ quotient('total_spent', 'orders', 2) }} as average_order_value,
        case
            when orders = 1 then 'one-time'
            when orders <= 3 then 'repeat'
            else 'loyal'
        end as segment
    from totals
),

final as (
    {{ with_vanished('remade', 'affected', ['customer_unique_id']) }}
)

select * from final
