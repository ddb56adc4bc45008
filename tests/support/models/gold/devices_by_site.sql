select
    coalesce(site, 'unknown') as site,
    count(*) as devices
from {{ ref('stg_devices') }}
where _state = 'current'
group by coalesce(site, 'unknown')
