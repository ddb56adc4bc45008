{#- PostgreSQL, the source: its clock, and its oldest change. Each minimum is one probe of the cursor's index.
    A replica has shown what was committed before the last transaction that it replayed, whatever its own clock says. It
    may have replayed all that it received, and not have received what the primary has: so its clock stands still while
    the primary is idle. After a restart the primary's last checkpoint counts.
    Times before 2 January of year 1, which a zone may lead out of our era, and in the future are left out: no window
    reaches them. A table without a time begins with the first run. Given: `cursors` (SourceCursor). -#}
{% from "moments.sql" import cursor_moment -%}
select
    case
        when pg_is_in_recovery()
            then least(now(), coalesce(pg_last_xact_replay_timestamp(), (select checkpoint_time from pg_control_checkpoint())))
        else now()
    end as now,
    least(
        null
        {%- for cursor in cursors -%},
        {%- set table = cursor.table %}
        {%- if cursor.is_time %}
        (
            select {{ cursor_moment(cursor) }}
            from (
                select min({{ postgres_name(table.cursor) }}) as {{ postgres_name(table.cursor) }}
                from {{ postgres_name(table.schema) }}.{{ postgres_name(table.name) }}
                where {{ postgres_name(table.cursor) }} >= '0001-01-02'
            ) as source
            where {{ cursor_moment(cursor) }} <= now()
        )
        {%- else %}
        (
            select now() - interval '1 hour'
            where exists (select from {{ postgres_name(table.schema) }}.{{ postgres_name(table.name) }})
        )
        {%- endif %}
        {%- endfor %}
    )::timestamptz as oldest
