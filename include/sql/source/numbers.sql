{#- PostgreSQL, the source: the range of each cursor that is a number. Given: `cursors` (SourceCursor), `quote`, `literal`. -#}
{% for cursor in cursors -%}
{% set table = cursor.table -%}
select
    {{ literal(table.schema ~ "." ~ table.name ~ "." ~ table.cursor) }} as name,
    min({{ quote(table.cursor) }}) as lowest,
    max({{ quote(table.cursor) }}) as highest
from {{ quote(table.schema) }}.{{ quote(table.name) }}
{{ 'union all' if not loop.last }}
{% endfor %}
