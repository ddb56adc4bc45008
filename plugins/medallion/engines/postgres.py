"""The two PostgreSQL databases: the source, and the one that holds gold, staging and audit."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from airflow.providers.postgres.hooks.postgres import PostgresHook
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from psycopg import ClientCursor, Connection
from psycopg.rows import namedtuple_row

from medallion.project.manifest import source_columns
from medallion.settings import GOLD_CONNECTION, SOURCE_CONNECTION, SQL

# Its rows are named tuples, one class a statement: for a type checker they are anything.
Cursor = ClientCursor[Any]


@contextmanager
def transaction(connection_id: str = GOLD_CONNECTION) -> Iterator[Cursor]:
    """A cursor in one transaction: committed at the end, rolled back when the block raises. Rows are named tuples."""
    connection = cast("Connection[Any]", PostgresHook(connection_id).get_conn())
    # Parameters are bound here, not by the server: a script of several statements may have them.
    connection.cursor_factory = ClientCursor
    connection.row_factory = namedtuple_row
    # At its end psycopg commits or rolls back, and closes the connection.
    with connection, connection.cursor() as cursor:
        yield cast("Cursor", cursor)


def rendered(name: str, **variables: Any) -> bytes:
    """A statement of `include/sql`. Raises jinja2.UndefinedError where it lacks a variable."""
    # SQL is not HTML: nothing to escape.
    templates = Environment(loader=FileSystemLoader(SQL), undefined=StrictUndefined)  # noqa: S701
    return templates.get_template(name).render(variables).encode()


def create_audit_tables() -> None:
    """Creates the schemas and tables of `include/sql/audit.sql` where they are missing."""
    with transaction() as cursor:
        # Two runs may begin at once: "if not exists" alone would let both create.
        cursor.execute("select pg_advisory_xact_lock(hashtext('medallion audit tables'))")
        cursor.execute(rendered("audit.sql"))


def changed_tables(start: str, end: str) -> set[str]:
    """The source's tables that have a row with `start` <= updated_at < `end`: UTC, without an offset."""
    with transaction(SOURCE_CONNECTION) as cursor:
        cursor.execute(
            rendered("changed_tables.sql", tables=sorted(source_columns())),
            {"start": f"{start}+00", "end": f"{end}+00"},
        )
        return {row.name for row in cursor.fetchall()}


def source_clock() -> Any:
    """The source's `now` and the `oldest` updated_at over its tables (None where there is no row), both UTC."""
    with transaction(SOURCE_CONNECTION) as cursor:
        cursor.execute(rendered("source_clock.sql", tables=sorted(source_columns())))
        return cursor.fetchone()
