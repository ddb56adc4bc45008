with lines as (
    select * from {{ ref('stg_order_lines') }}
),

affected as (
    select `order id` from lines where {{ is_changed() }}
    union
    {{ unpublished_keys(['order id']) }}
),

rebuilt as (
    select
        `order id`,
        `group`
    from lines
),

final as (
    {{ with_deleted_keys('rebuilt', 'affected', ['order id']) }}
)

select * from final
