"""The source database: whether it has the tables and columns that the models need, its clock, and what changed."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from medallion.engines.postgres import quote, render_sql, transaction
from medallion.project.manifest import SourceTable, source_tables
from medallion.settings import SOURCE_CONNECTION

log = logging.getLogger(__name__)

TableName = tuple[str, str]  # schema, table


class SourceContractError(Exception):
    """The source lacks tables or columns; the message names them all."""


@dataclass(frozen=True)
class SourceClock:
    """The source's time, and its oldest change (None if it has no row); UTC."""

    now: datetime
    oldest: datetime | None


def check_source() -> None:
    """Compare the source's tables with the models. Logs a warning for each column that no model describes.

    Raises SourceContractError naming every missing table and column.
    """
    tables = source_tables()
    with transaction(SOURCE_CONNECTION) as cursor:
        cursor.execute(
            "select table_schema, table_name, array_agg(column_name::text) as columns"
            " from information_schema.columns where table_schema = any(%s) group by 1, 2",
            ([*{table.schema for table in tables}],),
        )
        present = {(row.table_schema, row.table_name): set(row.columns) for row in cursor.fetchall()}
    compare(tables, present)


def compare(expected: Iterable[SourceTable], present: Mapping[TableName, set[str]]) -> None:
    """Compare the declared tables with the columns of those that exist. Raises and logs as `check_source` does."""
    missing = []
    for table in sorted(expected, key=lambda table: (table.schema, table.name)):
        columns = present.get((table.schema, table.name))
        if columns is None:
            missing.append(f"table {table.schema}.{table.name}")
            continue
        missing += [f"column {table.schema}.{table.name}.{name}" for name in sorted(table.columns - columns)]
        for name in sorted(columns - table.columns):
            log.warning(
                "The source has a new column %s.%s.%s. Bronze keeps it if Trino reads its type and its name is not"
                " reserved; silver has it once a model describes it.",
                table.schema,
                table.name,
                name,
            )
    if missing:
        raise SourceContractError(
            f"The source has no {', no '.join(missing)}, or the role of the connection {SOURCE_CONNECTION} may not"
            " see it. Nothing was written. Restore it or grant it at the source, or remove it from the models"
            " (include/dbt/models/bronze, include/spark_jobs/entities)."
        )


def read_clock() -> SourceClock:
    """Return the source's time and its oldest change."""
    with transaction(SOURCE_CONNECTION) as cursor:
        cursor.execute(render_sql("source/clock.sql", tables=source_tables(), quote=quote))
        [row] = cursor.fetchall()
    return SourceClock(row.now, row.oldest)


def changed_models(start: str, end: str) -> set[str]:
    """Return the bronze models whose source table has a row with `start` <= cursor < `end`.

    Both are UTC, without an offset.
    """
    if not (tables := source_tables()):
        return set()
    with transaction(SOURCE_CONNECTION) as cursor:
        cursor.execute(
            # The statement has parameters: a percent sign of a name must be doubled.
            render_sql(
                "source/changed_tables.sql",
                tables=tables,
                quote=lambda name: quote(name).replace("%", "%%"),
            ),
            {"start": f"{start}+00", "end": f"{end}+00"},
        )
        return {row.model for row in cursor.fetchall()}
