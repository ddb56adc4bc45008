select * from {{ source('sales', 'geolocation') }}
