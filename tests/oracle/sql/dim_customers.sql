with
final as (
    select
        customer_unique_id,
        customer_state,
        customer_city,
        customer_zip_code_prefix
    from stg.customers
    where customer_unique_id is not null
    qualify row_number() over (partition by customer_unique_id order by updated_at desc, customer_id desc) = 1
)

select * from final
