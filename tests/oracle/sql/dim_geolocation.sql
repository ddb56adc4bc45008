with
coordinates as (
    select
        geolocation_zip_code_prefix,
        median(geolocation_lat) as geolocation_lat,
        median(geolocation_lng) as geolocation_lng
    from stg.geolocation
    group by geolocation_zip_code_prefix
),

cities as (
    select
        geolocation_zip_code_prefix,
        geolocation_city
    from stg.geolocation
    where geolocation_city is not null
    group by geolocation_zip_code_prefix, geolocation_city
    qualify row_number() over (
        partition by geolocation_zip_code_prefix order by count(*) desc, geolocation_city
    ) = 1
),

states as (
    select
        geolocation_zip_code_prefix,
        geolocation_state
    from stg.geolocation
    where geolocation_state is not null
    group by geolocation_zip_code_prefix, geolocation_state
    qualify row_number() over (
        partition by geolocation_zip_code_prefix order by count(*) desc, geolocation_state
    ) = 1
),

final as (
    select *
    from coordinates
    left join cities using (geolocation_zip_code_prefix)
    left join states using (geolocation_zip_code_prefix)
)

select * from final
