with readings as (
    select * from {{ ref('fact_readings') }}
),

final as (
    select
        cast(read_at as date) as day,
        count(*) as readings,
        cast(sum(amount) as decimal(18, 2)) as total,
        {{ batch() }} as _batch
    from readings
    group by cast(read_at as date)
)

select * from final
