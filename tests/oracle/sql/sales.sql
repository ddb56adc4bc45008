-- The rows of fact_sales that count as sales, joined with the customer's and the product's columns for the gold tables.
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
