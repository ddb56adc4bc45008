{#- PostgreSQL, the source: its clock, and the time of its oldest change. Each minimum costs one probe of the cursor's
    index.
    A replica may lag behind its primary, whatever its own clock says. So its clock is the commit time of the last
    transaction that it replayed, which does not advance while the primary is idle. After a restart, and until the next
    transaction is replayed, it is the time of the primary's last checkpoint.
    Times in the future and times before 2 January of year 1 are ignored, because no window reaches them; a time zone
    could move 1 January into year 1 BC. The history of a table without a time cursor begins with the first run.
    Given: `cursors` (SourceCursor). -#}
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
