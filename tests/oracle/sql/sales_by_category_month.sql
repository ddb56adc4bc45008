with
final as (
    select
        date_trunc('month', order_purchase_timestamp)::date as month,
        category,
        sum(payment_value)::decimal(18, 2) as sales,
        count(distinct order_id) as bills,
        count(*) as items,
        average(sum(payment_value), count(distinct order_id)) as values_per_bill
    from sales
    group by 1, 2
)

select * from final
