"""The gold tables in PostgreSQL and their staging tables."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from airflow.sdk.exceptions import AirflowFailException
from psycopg.errors import UndefinedTable

from medallion.engines.postgres import Cursor, render_sql
from medallion.names import GOLD, GOLD_SCHEMA, STAGING_SCHEMA, lake_table
from medallion.project.contracts import Staged, gold_tables

log = logging.getLogger(__name__)


def published_columns(cursor: Cursor) -> dict[str, dict[str, str]]:
    """Return the tables of PostgreSQL's schema `gold`: table -> column -> type."""
    cursor.execute(
        """
        select relname, jsonb_object_agg(attname, format_type(atttypid, atttypmod)) as columns
        from pg_attribute
        inner join pg_class on pg_class.oid = attrelid
        where relnamespace = %s::regnamespace and relkind = 'r' and attnum > 0 and not attisdropped
        group by relname
        """,
        (GOLD_SCHEMA,),
    )
    return dict(cursor.fetchall())


def apply_staged_rows(cursor: Cursor, staged: Staged) -> None:
    """Turn the gold tables into what is staged, in the caller's transaction.

    Raises AirflowFailException if a staging table is gone, or if a gold table is gone and only its changes are staged.
    """
    present, base = published_columns(cursor), staged["base_snapshots"]
    if lost := [
        table.name
        for table in gold_tables()
        if lake_table(GOLD, table.name) in base and table.name not in present
    ]:
        raise AirflowFailException(
            f"gold.{', gold.'.join(lost)} is gone from PostgreSQL since this run was audited:"
            " clear its task `audit` with all downstream"
        )
    if not gold_tables():
        return
    with require_staging():
        cursor.execute(
            render_sql(
                "publish/apply_staged.sql",
                staging=staged["staging"],
                tables=gold_tables(),
                present=present,
                base_snapshots=base,
            )
        )


def count_staged_rows(cursor: Cursor, staging: str) -> dict[str, int]:
    """Return the number of staged rows of each gold table. Raises AirflowFailException if a staging table is gone."""
    with require_staging():
        return _count_rows(
            cursor, {table.name: f"{STAGING_SCHEMA}.{table.name}_{staging}" for table in gold_tables()}
        )


def count_published_rows(cursor: Cursor) -> dict[str, int]:
    """Return the number of rows of each gold table, and log it."""
    counts = _count_rows(cursor, {table.name: f"{GOLD_SCHEMA}.{table.name}" for table in gold_tables()})
    for name, count in counts.items():
        log.info("gold.%s: %d rows", name, count)
    return counts


def _count_rows(cursor: Cursor, relations: dict[str, str]) -> dict[str, int]:
    if not relations:
        return {}
    cursor.execute(
        " union all ".join(
            f"select '{name}' as name, count(*) as rows from {relation}"
            for name, relation in relations.items()
        ).encode()
    )
    return dict(cursor.fetchall())


@contextmanager
def require_staging() -> Iterator[None]:
    """Raise AirflowFailException if a staging table is gone that the block reads."""
    try:
        yield
    except UndefinedTable as error:
        raise AirflowFailException(
            "The staged rows are gone: gold was published, rolled back or audited again in the meantime"
            f" ({error.diag.message_primary}). Clear the tasks of `stage` with all downstream"
        ) from error


def drop_staging(cursor: Cursor) -> None:
    """Drop the staging tables of all batches.

    This publication includes what dead runs had staged. Trino's temporary tables (`tmp_trino_…`), left by a
    kill, go too.
    """
    names = "|".join(table.name for table in gold_tables())
    cursor.execute(
        "select format('%%I.%%I', schemaname, tablename) as name from pg_tables"
        " where schemaname = %s and tablename ~ %s",
        (STAGING_SCHEMA, rf"^(({names})_\d+_\d+|tmp_trino_.+)$"),
    )
    if tables := [row.name for row in cursor.fetchall()]:
        cursor.execute(f"drop table {', '.join(tables)}".encode())
