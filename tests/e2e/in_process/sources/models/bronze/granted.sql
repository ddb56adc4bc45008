select * from {{ source('kinds', 'granted') }}
