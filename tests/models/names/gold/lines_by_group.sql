select
    "group",
    count(*) as "lines, all",
    {{ quotient('sum(1)', 'count(*)', 2) }} as share,
    {{ batch() }} as _batch
from {{ ref('dim_lines') }}
group by "group"
