with {{ sales_ctes(categories=true) }},

affected as (
    select month, category from changed_sales
    union
    {{ unpublished_keys(['month', 'category']) }}
),

totals as (
    select
        affected.month,
        affected.category,
        cast(sum(sales.payment_value) as decimal(18, 2)) as sales,
        count(distinct sales.order_id) as bills,
        count(sales.order_id) as items
    from sales
    right join affected
        on sales.month = affected.month and sales.category = affected.category
    group by affected.month, affected.category
),

final as (
    select
        *,
        {{ quotient('sales', 'bills', 2) }} as values_per_bill,
        {{ batch_if('items > 0') }} as _batch
    from totals
)

select * from final
