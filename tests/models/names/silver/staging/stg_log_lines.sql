select * from {{ ref('log_lines') }}
