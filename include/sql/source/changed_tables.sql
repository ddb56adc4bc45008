{#- PostgreSQL, the source: models whose table may have changed in the window. One probe of the cursor's index each; a
    number, or no cursor, has nothing to do with a window. Given: `cursors` (SourceCursor), `start`, `end`, `quote`. -#}
{% from "moments.sql" import cursor_within -%}
{% for cursor in cursors -%}
{% set table = cursor.table -%}
select '{{ table.model }}' as model
{%- if table.capture == "window" and cursor.is_time %}
where exists (
    select from {{ quote(table.schema) }}.{{ quote(table.name) }} as source
    where {{ cursor_within(cursor, *cursor.bounds(start, end)) }}
)
{%- endif %}
{{ 'union all' if not loop.last }}
{% endfor %}
