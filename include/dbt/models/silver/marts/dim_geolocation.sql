with geolocation as (
    select * from {{ ref('stg_geolocation') }}
),

affected as (
    select geolocation_zip_code_prefix from geolocation where {{ is_changed() }}
    union
    select geolocation_zip_code_prefix
    from {{ as_published(ref('stg_geolocation')) }} as published
    where geolocation_id in (select geolocation_id from geolocation where {{ is_changed() }})
    union
    {{ unpublished_keys(['geolocation_zip_code_prefix']) }}
),

located as (
    select *
    from geolocation
    where
        _state = 'current'
        and geolocation_zip_code_prefix in (
            select geolocation_zip_code_prefix from affected
        )
),

coordinates as (
    select
        geolocation_zip_code_prefix,
        percentile(geolocation_lat, 0.5) as geolocation_lat,
        percentile(geolocation_lng, 0.5) as geolocation_lng,
        min(_first_extracted_at) as created_at
    from located
    group by geolocation_zip_code_prefix
),

-- The most common city; among equally common ones the first by name. `states` does the same.
cities as (
    select
        geolocation_zip_code_prefix,
        geolocation_city,
        row_number() over (
            partition by geolocation_zip_code_prefix
            order by count(*) desc, geolocation_city
        ) as place
    from located
    where geolocation_city is not null
    group by geolocation_zip_code_prefix, geolocation_city
),

states as (
    select
        geolocation_zip_code_prefix,
        geolocation_state,
        row_number() over (
            partition by geolocation_zip_code_prefix
            order by count(*) desc, geolocation_state
        ) as place
    from located
    where geolocation_state is not null
    group by geolocation_zip_code_prefix, geolocation_state
),

rebuilt as (
    select
        coordinates.geolocation_zip_code_prefix,
        coordinates.geolocation_lat,
        coordinates.geolocation_lng,
        cities.geolocation_city,
        states.geolocation_state,
        coordinates.created_at
    from coordinates
    left join cities
        on
            coordinates.geolocation_zip_code_prefix = cities.geolocation_zip_code_prefix
            and cities.place = 1
    left join states
        on
            coordinates.geolocation_zip_code_prefix = states.geolocation_zip_code_prefix
            and states.place = 1
),

final as (
    {{ with_deleted_keys('rebuilt', 'affected', ['geolocation_zip_code_prefix']) }}
)

select * from final
