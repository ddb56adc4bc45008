{#- The source: its clock, and its oldest row. Each minimum is one probe of the index on updated_at. -#}
select
    now() as now,
    least(
        {% for table in tables -%}
        (select min(updated_at) from sales.{{ table }}){{ ',' if not loop.last }}
        {% endfor %}
    ) as oldest
