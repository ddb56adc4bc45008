with lines as (
    select * from {{ ref('stg_log_lines') }}
),

affected as (
    select `line id` from lines where {{ is_changed() }}
    union
    {{ unpublished_keys(['line id']) }}
),

rebuilt as (
    select
        `line id`,
        `group`
    from lines
),

final as (
    {{ with_deleted_keys('rebuilt', 'affected', ['line id']) }}
)

select * from final
