"""Transactions on the two PostgreSQL databases, and the SQL files that they run."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast

from airflow.providers.postgres.hooks.postgres import PostgresHook
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from psycopg import ClientCursor, Connection
from psycopg.rows import namedtuple_row

from medallion.settings import DBT_PROJECT, GOLD_CONNECTION, SQL

# Rows are named tuples of a class per statement, which a type checker can't know.
Cursor = ClientCursor[Any]


@contextmanager
def transaction(connection_id: str = GOLD_CONNECTION) -> Iterator[Cursor]:
    """Open a transaction: committed at the end, rolled back if the block raises. Rows are named tuples."""
    connection = cast("Connection[Any]", PostgresHook(connection_id).get_conn())
    # This cursor binds parameters itself, so that a script of several statements may have them.
    connection.cursor_factory = ClientCursor
    connection.row_factory = namedtuple_row
    # Leaving the block commits or rolls back, and closes the connection.
    with connection, connection.cursor() as cursor:
        yield cast("Cursor", cursor)


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
