{#- PostgreSQL, the source: the range of each cursor that is a number. Given: `cursors` (SourceCursor). -#}
{% for cursor in cursors -%}
{% set table = cursor.table -%}
select
    {{ postgres_literal(table.schema ~ "." ~ table.name ~ "." ~ table.cursor) }} as name,
    min({{ postgres_name(table.cursor) }}) as lowest,
    max({{ postgres_name(table.cursor) }}) as highest
from {{ postgres_name(table.schema) }}.{{ postgres_name(table.name) }}
{{ 'union all' if not loop.last }}
{% endfor %}
