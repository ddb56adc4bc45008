select
    seller_id,
    {{ pad_zip_prefix('seller_zip_code_prefix') }} as seller_zip_code_prefix,
    {{ clean_city('seller_city') }} as seller_city,
    seller_state
from {{ ref('sellers') }}
