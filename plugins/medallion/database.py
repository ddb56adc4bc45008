"""The two PostgreSQL databases: the source, and the one that holds gold, staging and audit."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.providers.postgres.hooks.postgres import PostgresHook
from psycopg import ClientCursor as Cursor
from psycopg.rows import namedtuple_row

from medallion.settings import GOLD_CONNECTION, SOURCE_CONNECTION, SQL


@contextmanager
def transaction(connection_id: str = GOLD_CONNECTION) -> Iterator[Cursor]:
    """A cursor in one transaction: committed at the end, rolled back when the block raises. Rows are named tuples."""
    connection = PostgresHook(connection_id).get_conn()
    # Bound here, not by the server: a script of several statements may have parameters.
    connection.cursor_factory, connection.row_factory = Cursor, namedtuple_row
    try:
        with connection, connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def create_audit_tables() -> None:
    """Creates the schemas and tables of `include/sql/audit.sql` where they are missing."""
    with transaction() as cursor:
        # Two runs may begin at once: "if not exists" alone would let both create.
        cursor.execute("select pg_advisory_xact_lock(hashtext('medallion audit tables'))")
        cursor.execute((SQL / "audit.sql").read_text())


def source_clock() -> Any:
    """The source's `now` and the `oldest` updated_at over its tables (None where there is no row), both UTC."""
    with transaction(SOURCE_CONNECTION) as cursor:
        cursor.execute((SQL / "source_clock.sql").read_text())
        return cursor.fetchone()
