with products as (
    select * from {{ ref('stg_products') }}
),

translations as (
    select * from {{ ref('stg_product_category_name_translation') }}
),

affected as (
    select product_id from products where {{ is_changed() }}
    union
    select product_id
    from products
    where product_category_name in (
        select product_category_name from translations where {{ is_changed() }}
    )
),

rebuilt as (
    select
        products.product_id,
        products.product_category_name,
        translations.product_category_name_english,
        products.product_weight_g,
        products.product_length_cm,
        products.product_height_cm,
        products.product_width_cm,
        -- A volume that is too large for a decimal is null, and no error.
        try_multiply(
            try_multiply(products.product_length_cm, products.product_height_cm), products.product_width_cm
        ) as volume_cm3,
        products._first_extracted_at as created_at
    from products
    left join translations
        on
            products.product_category_name = translations.product_category_name
            and translations._state = 'current'
    where
        products._state = 'current'
        and products.product_id in (select product_id from affected)
),

final as (
    {{ with_deleted_keys('rebuilt', 'affected', ['product_id']) }}
)

select * from final
