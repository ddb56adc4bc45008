select
    customer_id,
    customer_unique_id,
    {{ pad_zip_prefix('customer_zip_code_prefix') }} as customer_zip_code_prefix,
    {{ clean_city('customer_city') }} as customer_city,
    customer_state
from {{ ref('customers') }}
