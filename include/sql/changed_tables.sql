{#- The source: its tables with a row in the window. Each is one probe of the index on updated_at. -#}
{% for table in tables -%}
select '{{ table }}' as name
where exists (select from sales.{{ table }} where updated_at >= %(start)s and updated_at < %(end)s)
{{ 'union all' if not loop.last }}
{% endfor %}
