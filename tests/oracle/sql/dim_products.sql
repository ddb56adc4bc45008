with
measured as (
    select
        *,
        product_length_cm::double * product_height_cm::double * product_width_cm::double < 1e32 as fits
    from stg.products
),

final as (
    select
        product_id,
        product_category_name,
        product_category_name_english,
        product_weight_g,
        product_length_cm,
        product_height_cm,
        product_width_cm,
        case
            when fits
                then product_length_cm::decimal(38, 2)
                    * product_height_cm::decimal(38, 2)
                    * product_width_cm::decimal(38, 2)
        end::decimal(38, 6) as volume_cm3
    from measured
    left join stg.product_category_name_translation using (product_category_name)
)

select * from final
