{#-
  The source: its clock, and its oldest row (one of before our era is none). Each minimum is one probe of the index on
  updated_at.
-#}
select
    now() as now,
    least(
        {% for table in tables -%}
        (select min(updated_at) from sales.{{ table }} where updated_at >= '0001-01-01 00:00:00+00'){{ ',' if not loop.last }}
        {% endfor %}
    ) as oldest
