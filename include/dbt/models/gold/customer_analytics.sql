with {{ sales_ctes(customers=true) }},

affected as (
    select customer_unique_id from changed_sales
    where customer_unique_id is not null
    union
    {{ unpublished_keys(['customer_unique_id']) }}
),

totals as (
    select
        affected.customer_unique_id,
        max_by(sales.state, row(sales.order_purchase_timestamp, sales.order_id)) as state,
        min(sales.order_purchase_timestamp) as first_order_at,
        max(sales.order_purchase_timestamp) as last_order_at,
        count(distinct sales.order_id) as orders,
        count(sales.order_id) as items,
        cast(sum(sales.payment_value) as decimal(18, 2)) as total_spent
    from sales
    right join affected on sales.customer_unique_id = affected.customer_unique_id
    group by affected.customer_unique_id
),

final as (
    select
        *,
        {{ quotient('total_spent', 'orders', 2) }} as average_order_value,
        case
            when orders = 1 then 'one-time'
            when orders <= 3 then 'repeat'
            else 'loyal'
        end as segment,
        {{ batch_if('orders > 0') }} as _batch
    from totals
)

select * from final
