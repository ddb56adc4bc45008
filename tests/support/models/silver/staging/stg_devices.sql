select
    device_id,
    site
from {{ ref('devices') }}
