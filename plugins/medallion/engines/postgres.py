"""Transactions on the two PostgreSQL databases, their limits, and the SQL files that they run."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast

from airflow.providers.postgres.hooks.postgres import PostgresHook
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from psycopg import ClientCursor, Connection
from psycopg.errors import LockNotAvailable
from psycopg.rows import namedtuple_row

from medallion.settings import DBT_PROJECT, GOLD_CONNECTION, SQL

# Rows are named tuples of a class per statement, which a type checker can't know.
Cursor = ClientCursor[Any]

# How long a statement waits for a lock of another session, and how long a session of ours may hold its locks without
# sending anything: its process may be frozen.
LOCK_LIMIT, IDLE_LIMIT = timedelta(seconds=30), timedelta(minutes=1)
# Either side gives up a peer that has not answered for about half a minute, instead of the two hours of most systems.
# Parameters of libpq; an extra of the connection with the same name comes first.
CLIENT_LIMITS = {
    "connect_timeout": 30,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
SERVER_LIMITS = {
    "tcp_keepalives_idle": "10s",
    "tcp_keepalives_interval": "5s",
    "tcp_keepalives_count": "4",
    "tcp_user_timeout": "30s",
}
LOCK_HOLDERS = """
select
    activity.pid,
    activity.usename as role,
    nullif(activity.application_name, '') as program,
    host(activity.client_addr) as client,
    activity.state,
    date_trunc('second', now() - activity.xact_start)::text as age,
    string_agg(distinct locks.relation::regclass::text, ', ') as tables
from pg_locks as locks
inner join pg_stat_activity as activity on locks.pid = activity.pid
inner join pg_class as tables on locks.relation = tables.oid
where
    locks.granted
    and locks.pid <> pg_backend_pid()
    and locks.database = (select oid from pg_database where datname = current_database())
    and tables.relkind in ('r', 'p', 'v', 'm')
    and tables.relnamespace <> 'pg_catalog'::regnamespace
group by activity.pid, role, program, client, activity.state, age
order by min(activity.backend_start)
limit 10
"""


class BlockedError(Exception):
    """Another session holds a lock for too long; the message names the sessions that hold locks."""


@contextmanager
def transaction(
    connection_id: str = GOLD_CONNECTION,
    lock_limit: timedelta = LOCK_LIMIT,
    idle_limit: timedelta = IDLE_LIMIT,
) -> Iterator[Cursor]:
    """Open a transaction: committed at the end, rolled back if the block raises. Rows are named tuples.

    Raises BlockedError if a statement has waited for a lock of another session longer than `lock_limit`. The server
    ends a session that sends nothing for longer than `idle_limit`.
    """
    try:
        # Leaving the block commits or rolls back, and closes the connection.
        with connect(connection_id) as connection, connection.cursor() as cursor:
            limits = {
                "lock_timeout": f"{lock_limit / timedelta(milliseconds=1):.0f}ms",
                "idle_in_transaction_session_timeout": f"{idle_limit / timedelta(milliseconds=1):.0f}ms",
                **SERVER_LIMITS,
            }
            cursor.execute(
                "select set_config(name, value, true) from unnest(%s::text[], %s::text[]) as limits (name, value)",
                (list(limits), list(limits.values())),
            )
            yield cast("Cursor", cursor)
    except LockNotAvailable as error:
        raise BlockedError(
            f"A statement has waited for {lock_limit.total_seconds():.0f} s for a lock."
            f" {describe_lock_holders(connection_id)}"
        ) from error


def connect(connection_id: str) -> "Connection[Any]":
    """Open a connection that gives up a server that does not answer. Rows are named tuples."""
    hook = PostgresHook(connection_id)
    hook.connection.extra = json.dumps(CLIENT_LIMITS | hook.connection.extra_dejson)
    connection = cast("Connection[Any]", hook.get_conn())
    # This cursor binds parameters itself, so that a script of several statements may have them.
    connection.cursor_factory = ClientCursor
    connection.row_factory = namedtuple_row
    return connection


def describe_lock_holders(connection_id: str = GOLD_CONNECTION) -> str:
    """Return a sentence that names the other sessions that hold locks on tables, the oldest first, and what to do."""
    with connect(connection_id) as connection, connection.cursor() as cursor:
        cursor.execute(LOCK_HOLDERS)
        holders = [
            f"process {row.pid} of role {row.role}"
            + "".join(f", {part}" for part in (row.program, row.client, row.state) if part)
            + (f", in a transaction for {row.age}" if row.age else "")
            + f" ({row.tables})"
            for row in cursor.fetchall()
        ]
    if not holders:
        return "No session holds one any more."
    return (
        f"These sessions hold locks: {'; '.join(holders)}. End the one in the way if it is idle:"
        " select pg_terminate_backend(<process>)"
    )


@contextmanager
def reading(connection_id: str, limit: timedelta) -> Iterator[Cursor]:
    """Open a transaction that only reads; a statement that takes longer than `limit` is cancelled.

    A stricter limit of the role or the database stays.
    """
    milliseconds = int(limit / timedelta(milliseconds=1))
    with transaction(connection_id) as cursor:
        cursor.execute("set transaction read only")
        cursor.execute(
            "select set_config('statement_timeout', %(limit)s::text, true) from pg_settings"
            " where name = 'statement_timeout' and setting::bigint not between 1 and %(limit)s",
            {"limit": milliseconds},
        )
        yield cursor


def render_sql(name: str, **variables: Any) -> bytes:
    """Render a file of `include/sql`, which may import macros of the dbt project.

    Raises jinja2.UndefinedError if it lacks a variable.
    """
    loader = FileSystemLoader([SQL, DBT_PROJECT / "macros" / "medallion"])
    # SQL is not HTML: nothing to escape.
    templates = Environment(loader=loader, undefined=StrictUndefined)  # noqa: S701
    return templates.get_template(name).render(variables).encode()


def quote(identifier: str) -> str:
    """Return an identifier as PostgreSQL reads it literally, whatever it holds."""
    return '"' + identifier.replace('"', '""') + '"'
