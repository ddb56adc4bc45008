{#-
  The source: its clock, and its oldest row: none of before our era, nor of a time to come, which no window would reach.
  Each minimum is one probe of the index on updated_at.
-#}
select
    now() as now,
    least(
        {% for table in tables -%}
        (
            select min(updated_at)
            from sales.{{ table }}
            where updated_at between '0001-01-01 00:00:00+00' and now()
        ){{ ',' if not loop.last }}
        {% endfor %}
    ) as oldest
