select * from {{ source('office', 'lines') }}
