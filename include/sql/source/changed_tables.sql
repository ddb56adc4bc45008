{#- PostgreSQL, the source: models whose table has a row in the window. One probe of the cursor's index each.
    Given: `tables` (SourceTable), `quote`. -#}
{% for table in tables -%}
select '{{ table.model }}' as model
where exists (
    select from {{ quote(table.schema) }}.{{ quote(table.name) }}
    where {{ quote(table.cursor) }} >= %(start)s and {{ quote(table.cursor) }} < %(end)s
)
{{ 'union all' if not loop.last }}
{% endfor %}
