"""Transactions on the two PostgreSQL databases, their limits, and the SQL files that they run."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast

from airflow.providers.postgres.hooks.postgres import PostgresHook
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from psycopg import ClientCursor, Connection, DatabaseError, IsolationLevel
from psycopg.errors import LockNotAvailable
from psycopg.rows import namedtuple_row

from medallion.settings import DBT_PROJECT, GOLD_CONNECTION, SQL, settings

# The rows of each statement are named tuples of a class of their own, which a type checker can't know.
Cursor = ClientCursor[Any]

# LOCK_LIMIT: how long a statement waits for a lock of another session. IDLE_LIMIT: how long a session of ours may be
# silent inside a transaction. Then the server ends it, because its process may be frozen while it holds locks.
LOCK_LIMIT, IDLE_LIMIT = timedelta(seconds=30), timedelta(minutes=1)
# Client and server close a connection if the other side has not answered for about half a minute. The default of most
# systems is two hours. CLIENT_LIMITS are parameters of libpq; an extra of the Airflow connection overrides them.
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
# Settings that decide how values and literals are written. Each transaction sets them, whatever the role's are.
SPELLING = {
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "standard_conforming_strings": "on",
}
CHECKED = ("search_path", "transaction_read_only", "server_encoding")
# Texts in errors of PgBouncer: it refuses a parameter of the connection, or its mode is `statement`, in which it
# refuses transactions.
SIGNS_OF_A_POOLER = ("unsupported startup parameter", "statement pooling mode")
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


class ServerError(Exception):
    """A server, or a pooler in front of it, has unsuitable settings; the message says what to change."""


@contextmanager
def transaction(lock_limit: timedelta = LOCK_LIMIT, idle_limit: timedelta = IDLE_LIMIT) -> Iterator[Cursor]:
    """Open a transaction on the gold database: committed at the end, rolled back if the block raises.

    Raises BlockedError if a statement has waited for a lock of another session longer than `lock_limit`. The server
    ends a session that sends nothing for longer than `idle_limit`. Time limits of the role are overridden.
    """
    with _session(GOLD_CONNECTION, lock_limit, gold_settings(lock_limit, idle_limit)) as cursor:
        yield cursor


def gold_settings(lock_limit: timedelta = LOCK_LIMIT, idle_limit: timedelta = IDLE_LIMIT) -> dict[str, str]:
    """Return the settings of a transaction on the gold database, for `configure`."""
    return {
        **_limits(lock_limit, idle_limit),
        "statement_timeout": _milliseconds(settings().task_timeout),
        "transaction_timeout": "0",
        # Our statements qualify all names but those of PostgreSQL. This path keeps objects of other schemas from hiding
        # PostgreSQL's own.
        "search_path": "pg_catalog",
    }


def _limits(lock_limit: timedelta = LOCK_LIMIT, idle_limit: timedelta = IDLE_LIMIT) -> dict[str, str]:
    return {
        "lock_timeout": _milliseconds(lock_limit),
        "idle_in_transaction_session_timeout": _milliseconds(idle_limit),
    }


@contextmanager
def _session(connection_id: str, lock_limit: timedelta, values: Mapping[str, str]) -> Iterator[Cursor]:
    """Open a transaction with the settings `values`, and those that every transaction of ours has."""
    try:
        # Leaving the block commits or rolls back, and closes the connection.
        with connect(connection_id) as connection:
            cursor = cast("Cursor", connection.cursor())
            configure(cursor, values)
            yield cursor
    except LockNotAvailable as error:
        raise BlockedError(
            f"A statement has waited for {lock_limit.total_seconds():.0f} s for a lock."
            f" {describe_lock_holders(connection_id)}"
        ) from error


def configure(cursor: Cursor, values: Mapping[str, str]) -> None:
    """Set the settings of the current transaction, except those that the server's version lacks.

    They end with the transaction, so that a pooler may give each transaction another session of the server.
    """
    values = {**SPELLING, **SERVER_LIMITS, **values}
    cursor.execute(
        "select set_config(settings.name, wanted.value, true)"
        " from unnest(%s::text[], %s::text[]) as wanted (name, value)"
        " inner join pg_settings as settings on wanted.name = settings.name",
        (list(values), list(values.values())),
    )


def _milliseconds(limit: timedelta) -> str:
    return f"{limit / timedelta(milliseconds=1):.0f}"


def connect(connection_id: str) -> "Connection[Any]":
    """Open a connection that fails if the server stops answering. Rows are named tuples."""
    hook = PostgresHook(connection_id)
    # Without this, text of a database in SQL_ASCII would be returned as bytes.
    hook.connection.extra = json.dumps(
        CLIENT_LIMITS | hook.connection.extra_dejson | {"client_encoding": "UTF-8"}
    )
    connection = cast("Connection[Any]", hook.get_conn())
    connection.isolation_level = IsolationLevel.READ_COMMITTED
    # This cursor inserts parameters into the text itself. So a script of several statements may have parameters, and no
    # statement is prepared in the session, which a pooler may give to another client.
    connection.cursor_factory = ClientCursor
    connection.row_factory = namedtuple_row
    return connection


def describe_lock_holders(connection_id: str = GOLD_CONNECTION) -> str:
    """Return a sentence that names the other sessions that hold locks on tables, the oldest first, and what to do."""
    with _session(connection_id, LOCK_LIMIT, _limits()) as cursor:
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

    A stricter limit of the role or the database stays in force. So does its search path, which views may need.
    """
    with _session(connection_id, LOCK_LIMIT, _limits()) as cursor:
        cursor.execute("set transaction read only")
        cursor.execute(
            "select set_config('statement_timeout', %(limit)s::text, true) from pg_settings"
            " where name = 'statement_timeout' and setting::bigint not between 1 and %(limit)s",
            {"limit": int(limit / timedelta(milliseconds=1))},
        )
        yield cursor


def check_server(connection_id: str) -> None:
    """Check the settings that Trino's sessions get from the server, and from the role that they share with ours.

    Our own sessions override all other settings. Raises ServerError that says what to change, also if a pooler refuses
    a connection or a transaction of ours.
    """
    try:
        with connect(connection_id) as connection:
            role = quote(connection.info.user)
            # `show` is a command, so no function in the role's search path can replace it.
            values = {name: connection.execute(f"show {name}".encode()).fetchall()[0][0] for name in CHECKED}
    except DatabaseError as error:
        if not any(sign in str(error) for sign in SIGNS_OF_A_POOLER):
            raise
        raise ServerError(
            f"{connection_id} leads to a pooler that does not serve it ({str(error).strip()}). Name the server's own"
            " port. Or use the pooler's mode transaction or session, without options in the connection's extra."
        ) from error
    path = [schema.strip(' "') for schema in values["search_path"].split(",")]
    if "pg_catalog" in path[1:]:
        raise ServerError(
            f"{connection_id}: the search path of the role is {', '.join(path)}, so tables and functions there hide"
            f" PostgreSQL's own. Let pg_catalog be first, or leave it out: alter role {role} set search_path = …"
        )
    if connection_id != GOLD_CONNECTION:
        return
    if values["transaction_read_only"] == "on":
        raise ServerError(
            f"{connection_id}: the role or the server only reads. Name the primary, or alter role {role} set"
            " default_transaction_read_only = off"
        )
    if (encoding := values["server_encoding"]) not in ("UTF8", "SQL_ASCII"):
        raise ServerError(
            f"{connection_id}: the database has the encoding {encoding}, which can't hold every text of the lake."
            " Create one: create database … encoding 'UTF8' template template0"
        )


def render_sql(name: str, **variables: Any) -> bytes:
    """Render a file of `include/sql`, which may import macros of the dbt project.

    Raises jinja2.UndefinedError if it lacks a variable.
    """
    loader = FileSystemLoader([SQL, DBT_PROJECT / "macros" / "medallion"])
    # SQL is not HTML: nothing to escape.
    templates = Environment(loader=loader, undefined=StrictUndefined)  # noqa: S701
    # dbt has macros of these names. So a macro that both dbt and Airflow render can call them.
    templates.globals.update(postgres_name=quote, postgres_literal=literal)
    return templates.get_template(name).render(variables).encode()


def quote(identifier: str) -> str:
    """Return an identifier as PostgreSQL reads it literally. Raises ValueError if it holds the character 0."""
    return '"' + _without_zero(identifier).replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as PostgreSQL's literal, whatever `standard_conforming_strings` is.

    Raises ValueError if it holds the character 0.
    """
    quoted = "'" + _without_zero(text).replace("\\", "\\\\").replace("'", "''") + "'"
    return f"E{quoted}" if "\\" in text else quoted


def _without_zero(text: str) -> str:
    if "\0" in text:
        # libpq would end the statement at this character.
        raise ValueError(f"{text!r} holds the character 0, which PostgreSQL does not take")
    return text
