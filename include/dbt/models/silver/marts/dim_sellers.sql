with sellers as (
    select * from {{ ref('stg_sellers') }}
),

affected as (
    select seller_id from sellers where {{ is_changed() }}
),

rebuilt as (
    select
        seller_id,
        seller_state,
        seller_city,
        seller_zip_code_prefix,
        _first_extracted_at as created_at
    from sellers
    where
        _state = 'current'
        and seller_id in (select seller_id from affected)
),

final as (
    {{ with_deleted_keys('rebuilt', 'affected', ['seller_id']) }}
)

select * from final
