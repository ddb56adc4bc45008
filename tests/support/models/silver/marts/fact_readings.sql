with readings as (
    select * from {{ ref('stg_readings') }}
    where {{ is_changed() }}
),

final as (
    select
        reading_id,
        device_id,
        read_at,
        amount,
        {{ batch_if("_state = 'current'") }} as _batch
    from readings
)

select * from final
