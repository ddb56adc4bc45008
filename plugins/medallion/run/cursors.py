"""The cursors of the source tables: what kind each is, and whether it can show changed rows."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from medallion.engines.postgres import Cursor, reading, render_sql
from medallion.names import RECONCILE_DAG
from medallion.project.manifest import Capture, SourceTable, source_tables
from medallion.settings import SOURCE_CONNECTION, settings

log = logging.getLogger(__name__)

TIME_KINDS = ("timestamptz", "timestamp", "date")
LARGE = 100_000  # rows from which a missing index is worth a warning
# A cursor that is a number counts microseconds since 1970. These are the first and last ones of the years 1 to 9999.
NUMBERS = (-62_135_596_800_000_000, 253_402_300_799_999_999)


class CursorError(Exception):
    """Source tables have no usable cursor; the message names all of them."""


@dataclass(frozen=True)
class SourceCursor:
    """A source table, and the kind of its cursor: timestamptz, timestamp, date, number or none."""

    table: SourceTable
    kind: str

    @property
    def is_time(self) -> bool:
        """Return whether the cursor is a time."""
        return self.kind in TIME_KINDS

    @property
    def name(self) -> str | None:
        """Return the name of the cursor's column, for the macros of moments.sql."""
        return self.table.cursor

    @property
    def zone(self) -> str:
        """Return the time zone of the cursor's values, if their type has none, for the macros of moments.sql."""
        return self.table.zone

    def bounds(self, start: str, end: str) -> tuple[str, str]:
        """Return the bounds of a window for this cursor. For a date they are whole days of the cursor's zone."""
        if self.kind != "date":
            return start, end
        first, last = (local_date(moment, self.zone) for moment in (start, end))
        return f"{first}", f"{last + timedelta(days=1)}"


def local_date(moment: str, zone: str) -> date:
    """Return the local date in a time zone at a moment, which is given in UTC."""
    utc = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    # Python's calendar has only the years 1 to 9999, and a zone's offset could lead out of it.
    return utc.date() if utc.year in (1, 9999) else utc.astimezone(ZoneInfo(zone)).date()


def kind_of(data_type: str) -> str | None:
    """Return the kind of a cursor by its type as PostgreSQL writes it; None if no cursor can have it."""
    if data_type.startswith("timestamp"):
        return "timestamptz" if data_type.endswith("with time zone") else "timestamp"
    if data_type == "date":
        return "date"
    if re.fullmatch(r"smallint|integer|bigint|numeric\(\d+,0\)", data_type):
        return "number"
    return None


def read_catalog(cursor: Cursor, tables: Sequence[SourceTable]) -> dict[str, Any]:
    """Return the row of the source's catalog about each table's cursor, by model; a missing column has none."""
    declared = [table for table in tables if table.cursor]
    if not declared:
        return {}
    cursor.execute(render_sql("source/cursors.sql", tables=declared))
    return {row.model: row for row in cursor.fetchall()}


def read_cursors(cursor: Cursor, tables: Sequence[SourceTable]) -> list[SourceCursor]:
    """Return the source tables with the kinds of their cursors. Raises CursorError as `check_cursors` does."""
    return cursors_of(tables, read_catalog(cursor, tables))


def cursors_of(tables: Sequence[SourceTable], catalog: dict[str, Any]) -> list[SourceCursor]:
    """Return the tables with the kinds of their cursors. `catalog` is the result of `read_catalog`.

    Raises CursorError as `check_cursors` does.
    """
    if problems := [problem for table in tables if (problem := problem_of(table, catalog.get(table.model)))]:
        raise CursorError(f"{'; '.join(problems)}. Nothing was written.")
    return [
        SourceCursor(table, kind_of(catalog[table.model].data_type) or "none" if table.cursor else "none")
        for table in tables
    ]


def problem_of(table: SourceTable, row: Any) -> str | None:
    """Return why the declared cursor can't be used; None if it can, or if the table declares none."""
    if not table.cursor:
        if table.capture is Capture.WINDOW:
            return f"{table.schema}.{table.name} has no cursor (loaded_at_field), and no capture in its bronze model"
        return None
    name = f"{table.schema}.{table.name}.{table.cursor}"
    if row is None:
        return f"The source has no column {name}, the cursor (loaded_at_field) of the model {table.model}"
    if not row.is_readable:
        return f"The role of the connection {SOURCE_CONNECTION} may not select the cursor {name}: grant it"
    if kind_of(row.data_type) is None:
        return (
            f"{name} is {row.data_type}, which is no cursor: that is a timestamp with or without time zone, a date, a"
            " smallint, integer, bigint or numeric(p,0). Name another column as loaded_at_field, or none"
        )
    if not row.is_zone:
        return f"{name}: cursor_zone {table.zone!r} is no time zone of the source, such as Europe/Berlin"
    return None


def check_cursors() -> None:
    """Check that each source table has the cursor that is declared, before anything is written.

    Logs a warning for each cursor that is slow or may be null, and for a transaction that is open longer than the
    lookback. Raises CursorError naming every cursor whose column is missing, may not be read or has an unsuitable type,
    and every number outside of the years 1 to 9999.
    """
    with reading(SOURCE_CONNECTION, settings().task_timeout) as cursor:
        tables = source_tables()
        catalog = read_catalog(cursor, tables)
        cursors = cursors_of(tables, catalog)
        for source_cursor in cursors:
            if row := catalog.get(source_cursor.table.model):
                log_doubts(source_cursor, row)
        if numbers := [source_cursor for source_cursor in cursors if source_cursor.kind == "number"]:
            check_numbers(cursor, numbers)
        cursor.execute(render_sql("source/transactions.sql"))
        [transactions] = cursor.fetchall()
    log_transactions(transactions, settings().lookback)


def check_numbers(cursor: Cursor, numbers: list[SourceCursor]) -> None:
    """Raise CursorError naming the numbers that lie outside of the years that a moment may have."""
    cursor.execute(render_sql("source/numbers.sql", cursors=numbers))
    lowest, highest = NUMBERS
    problems = [
        f"{row.name} holds {row.lowest} to {row.highest}; as a cursor it may hold {lowest} to {highest}"
        for row in cursor.fetchall()
        if row.highest is not None and not lowest <= row.lowest <= row.highest <= highest
    ]
    if problems:
        raise CursorError(f"{'; '.join(problems)}. Nothing was written.")


def log_doubts(cursor: SourceCursor, row: Any) -> None:
    """Log what the catalog shows about a cursor: its zone, whether it may be null, and whether it lacks an index."""
    table = cursor.table
    name = f"{table.schema}.{table.name}.{table.cursor}"
    if cursor.kind == "timestamp":
        log.info(
            "The cursor %s has no time zone: it is read as local time in %s (cursor_zone).", name, table.zone
        )
    if table.capture is not Capture.WINDOW:
        return
    if row.has_constraints and not row.is_not_null:
        log.warning(
            "The cursor %s may be null. Only %s captures rows whose cursor is null.", name, RECONCILE_DAG
        )
    if not row.is_indexed and row.row_estimate >= LARGE:
        log.warning("The cursor %s has no index: each run reads all of the table's rows.", name)


def log_transactions(row: Any, lookback: timedelta) -> None:
    """Warn of a transaction that is open longer than the lookback; log if open transactions can't be seen."""
    if row.is_replica:
        log.info("The source is a replica: windows end at the last transaction that it has replayed.")
    elif row.oldest is not None and row.oldest > lookback:
        log.warning(
            "A transaction at the source is open for %s, longer than the lookback (MEDALLION_LOOKBACK, %s). Rows that"
            " it commits are captured by %s, not hourly.",
            row.oldest,
            lookback,
            RECONCILE_DAG,
        )
    elif row.hidden:
        log.info(
            "The role can't see how long transactions at the source are open: grant pg_read_all_stats to see it."
        )
