with {{ sales_ctes() }},

affected as (
    select month, category from changed_sales
    union
    {{ unpublished_keys(['month', 'category']) }}
),

affected_sales as (
    select sales.*
    from sales
    inner join affected
        on sales.month = affected.month and sales.category = affected.category
),

remade as (
    select
        month,
        category,
        cast(sum(payment_value) as decimal(18, 2)) as sales,
        count(distinct order_id) as bills,
        count(*) as items,
        {{ quotient('sum(payment_value)', 'count(distinct order_id)', 2) }} as values_per_bill
    from affected_sales
    group by month, category
),

final as (
    {{ with_vanished('remade', 'affected', ['month', 'category']) }}
)

select * from final
