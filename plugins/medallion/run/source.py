"""The source database: check that it has what the models need, and read its clock and its changes."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from medallion.engines.postgres import quote, reading, render_sql
from medallion.names import RECONCILE_DAG, bronze_names, staging_table
from medallion.project.declarations import columns_read
from medallion.project.manifest import Capture, SourceTable, source_tables
from medallion.run.cursors import read_cursors
from medallion.settings import SOURCE_CONNECTION, settings

log = logging.getLogger(__name__)


class SourceContractError(Exception):
    """The source is not as the models need it; the message names everything that is wrong, and what to do."""


@dataclass(frozen=True)
class SourceColumn:
    """A column of the source: its names there and in bronze."""

    name: str
    bronze_name: str
    is_readable: bool
    is_in_primary_key: bool


@dataclass(frozen=True)
class SourceDescription:
    """A table as the catalog of the source describes it.

    policies: the row policies that may hide rows from the reader.
    """

    is_populated: bool
    policies: str | None
    columns: list[SourceColumn]


@dataclass(frozen=True)
class SourceClock:
    """The source's time, and its oldest change (None if it has no row); UTC."""

    now: datetime
    oldest: datetime | None


def check_source() -> None:
    """Compare the source's tables with the models. Logs a warning for what bronze leaves out, or may not see.

    Raises SourceContractError naming every missing table, column and right.
    """
    if not (tables := source_tables()):
        return
    names, reads = sorted({(table.schema, table.name) for table in tables}), columns_read()
    with reading(SOURCE_CONNECTION, settings().task_timeout) as cursor:
        cursor.execute(render_sql("source/catalog.sql", tables=names))
        rows = cursor.fetchall()
        role = cursor.connection.info.user
    present = {
        name: describe([*group])
        for name, group in groupby(rows, lambda row: (row.schema_name, row.table_name))
    }
    problems = [
        problem
        for table in sorted(tables, key=lambda table: (table.schema, table.name))
        for problem in compare(
            table, present.get((table.schema, table.name)), role, reads.get(table.model, set())
        )
    ]
    if problems:
        raise SourceContractError(
            "The source is not as the models need it. Nothing was written.\n"
            + "\n".join(f"- {problem}" for problem in problems)
        )


def describe(rows: Sequence[Any]) -> SourceDescription:
    """Return the description of a table from its rows of the catalog, which has one row for each column."""
    names = bronze_names((row.name, row.is_reserved) for row in rows)
    columns = [
        SourceColumn(row.name, name, row.is_readable, row.is_in_primary_key)
        for row, name in zip(rows, names, strict=True)
    ]
    return SourceDescription(rows[0].is_populated, rows[0].policies, columns)


def compare(
    table: SourceTable, description: SourceDescription | None, role: str, reads: set[str]
) -> Iterator[str]:
    """Yield the problems that `role` has with a table; log what bronze leaves out.

    `description`: None if the source lacks the table. `reads`: the columns of bronze that silver reads.
    """
    name, file = f"{table.schema}.{table.name}", f"include/dbt/models/bronze/{table.model}.yml"
    sql_name, sql_role = f"{quote(table.schema)}.{quote(table.name)}", quote(role)
    if description is None:
        yield (
            f"{name}: the source has no such table. Restore it, or remove its models (dbt calls it {table.model})."
        )
        return
    if not any(column.is_readable for column in description.columns):
        yield (
            f"{name}: the role {role} of the connection {SOURCE_CONNECTION} may not read it. At the source: grant"
            f" usage on schema {quote(table.schema)} to {sql_role}; grant select on {sql_name} to {sql_role}"
        )
        return
    if not description.is_populated:
        yield f"{name}: the view has no content yet. At the source: refresh materialized view {sql_name}"
    columns = {column.bronze_name: column for column in description.columns}
    primary_key = [column.bronze_name for column in description.columns if column.is_in_primary_key]
    if {*table.key} < {*primary_key}:
        yield (
            f"{name}: its primary key is ({', '.join(primary_key)}), so several rows may share the natural_key"
            f" ({', '.join(table.key)}) in {file}. Undo the change at the source. Or name all columns of the primary"
            f" key there, and in the primary_key of {staging_table(table.model)}; then trigger {RECONCILE_DAG}"
            " with allow_deletes."
        )
    cursor = next((column.bronze_name for column in description.columns if column.name == table.cursor), None)
    for setting, names in {"leave_out": table.left_out, "hash": table.hashed}.items():
        for unknown in sorted({*names} - {column.name for column in description.columns}):
            yield f"{name}: the source has no column {unknown}, which {setting} in {file} names."
    if table.cursor and cursor is None:
        yield f"{name}: the source has no column {table.cursor}, the loaded_at_field in {file}."
    elif table.cursor in table.hashed:
        yield f"{name}: {table.cursor} is the loaded_at_field, so it can't be hashed: see {file}."
    needed = [*table.key, *([cursor] if cursor else [])]
    for needed_name in [*needed, *sorted(reads - {*needed})]:
        column = columns.get(needed_name)
        staging = f"include/dbt/models/silver/staging/{staging_table(table.model)}.sql"
        user = file if needed_name in needed else staging
        if column is None:
            yield (
                f"{name}: the source has no column {needed_name}, which {user} needs. Restore it, or remove it there."
            )
        elif column.name in table.left_out:
            yield f"{name}: {user} needs {column.name}, so it can't be left out: see leave_out in {file}."
        elif not column.is_readable:
            yield (
                f"{name}: the role {role} may not read the column {column.name}, which {user} needs. At the"
                f" source: grant select ({quote(column.name)}) on {sql_name} to {sql_role}"
            )
    unreadable = [
        column.name
        for column in description.columns
        if not column.is_readable and column.name not in table.left_out and column.bronze_name not in needed
    ]
    if unreadable:
        log.warning(
            "%s: the role %s may not read %s. Bronze leaves that out.", name, role, ", ".join(unreadable)
        )
    if description.policies:
        log.warning(
            "%s: row policies may hide rows from the role %s (%s). The daily comparison counts no row of it as"
            " deleted. Grant the role bypassrls, or a policy that shows all rows.",
            name,
            role,
            description.policies,
        )


def read_clock() -> SourceClock:
    """Return the source's time and its oldest change. A replica's time is that of its last replayed change."""
    with reading(SOURCE_CONNECTION, settings().task_timeout) as cursor:
        cursor.execute(render_sql("source/clock.sql", cursors=read_cursors(cursor, source_tables())))
        [row] = cursor.fetchall()
    return SourceClock(row.now, row.oldest)


def changed_models(start: str, end: str) -> set[str]:
    """Return the bronze models that have something to capture: `start` <= cursor < `end` in some row of the source.

    Models whose cursor is no time, or that have none, are always included, unless only the daily comparison captures
    them. `start` and `end` are UTC, without an offset.
    """
    with reading(SOURCE_CONNECTION, settings().task_timeout) as cursor:
        cursors = [
            source_cursor
            for source_cursor in read_cursors(cursor, source_tables())
            if source_cursor.table.capture is not Capture.DAILY
        ]
        if not cursors:
            return set()
        cursor.execute(render_sql("source/changed_tables.sql", cursors=cursors, start=start, end=end))
        return {row.model for row in cursor.fetchall()}
