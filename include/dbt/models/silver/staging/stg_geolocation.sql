select
    geolocation_id,
    {{ pad_zip_prefix('geolocation_zip_code_prefix') }} as geolocation_zip_code_prefix,
    geolocation_lat,
    geolocation_lng,
    {{ clean_city('geolocation_city') }} as geolocation_city,
    geolocation_state
from {{ ref('geolocation') }}
