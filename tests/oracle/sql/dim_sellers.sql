with
final as (
    select
        seller_id,
        seller_state,
        seller_city,
        seller_zip_code_prefix
    from stg.sellers
)

select * from final
