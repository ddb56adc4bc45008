{#- PostgreSQL, the source: its clock, and its oldest change. Each minimum is one probe of the cursor's index.
    Times before year 1 and in the future are left out: no window reaches them. Given: `tables` (SourceTable), `quote`. -#}
select
    now() as now,
    least(
        null
        {%- for table in tables -%},
        (
            select min({{ quote(table.cursor) }})
            from {{ quote(table.schema) }}.{{ quote(table.name) }}
            where {{ quote(table.cursor) }} between '0001-01-01 00:00:00+00' and now()
        )
        {%- endfor %}
    )::timestamptz as oldest
