-- the fact rows that count as sales, with what the gold tables join to them
with
final as (
    select
        fact_sales.*,
        customers.customer_unique_id,
        customers.customer_state,
        coalesce(dim_products.product_category_name_english, dim_products.product_category_name, 'unknown')
            as category
    from fact_sales
    left join stg.customers as customers using (customer_id)
    left join dim_products using (product_id)
    where order_status not in ('canceled', 'unavailable')
)

select * from final
