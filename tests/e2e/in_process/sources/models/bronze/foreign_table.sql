select * from {{ source('kinds', 'foreign_table') }}
