with readings as (
    select * from {{ ref('fact_readings') }}
),

final as (
    select
        device_id,
        cast(date_trunc('month', read_at) as date) as month,
        count(*) as readings,
        avg(cast(amount as double)) as average,
        max(read_at) as last_read_at,
        {{ batch() }} as _batch
    from readings
    group by device_id, cast(date_trunc('month', read_at) as date)
)

select * from final
