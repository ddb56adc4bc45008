select
    reading_id,
    device_id,
    read_at,
    amount
from {{ ref('readings') }}
