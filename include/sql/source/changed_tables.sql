{#- PostgreSQL, the source: models whose table may have changed in the window. Each table costs one probe of its cursor's
    index. A table without a cursor, or with a number as its cursor, is always included.
    Given: `cursors` (SourceCursor), `start`, `end`. -#}
{% from "moments.sql" import cursor_within -%}
{% for cursor in cursors -%}
{% set table = cursor.table -%}
select {{ postgres_literal(table.model) }} as model
{%- if table.capture == "window" and cursor.is_time %}
where exists (
    select from {{ postgres_name(table.schema) }}.{{ postgres_name(table.name) }} as source
    where {{ cursor_within(cursor, *cursor.bounds(start, end)) }}
)
{%- endif %}
{{ 'union all' if not loop.last }}
{% endfor %}
