{#- PostgreSQL, the source: the age of the oldest open transaction that has written (prepared ones included), and the
    number of sessions whose transactions the role may not see. -#}
with activity as (
    select now() - xact_start as age, query = '<insufficient privilege>' as is_hidden
    from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid() and (backend_xid is not null or xact_start is null)
    union all
    select now() - prepared, false
    from pg_prepared_xacts
    where database = current_database()
)

select max(age) as oldest, count(*) filter (where is_hidden) as hidden, pg_is_in_recovery() as is_replica
from activity
