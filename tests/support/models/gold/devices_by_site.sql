with devices as (
    select * from {{ ref('stg_devices') }}
    where _state = 'current'
),

final as (
    select
        site,
        count(*) as devices,
        {{ batch() }} as _batch
    from devices
    group by site
)

select * from final
