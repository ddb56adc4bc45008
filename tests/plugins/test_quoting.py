"""Names and values of any kind stay names and values and are never run as SQL, on a real PostgreSQL."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
import sqlglot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medallion.engines.postgres import literal, quote, transaction
from medallion.project.contracts import GoldTable
from medallion.project.manifest import SourceTable
from medallion.publish import tables
from medallion.publish.shapes import comment_on, published_tables
from medallion.run import cursors as cursors_module
from medallion.run import source as source_module
from medallion.run.cursors import CursorError, check_cursors
from medallion.run.source import changed_models, check_source, read_clock
from medallion.run.window import WindowError, window_from_params
from medallion.store.attempts import (
    AttemptId,
    TestResult,
    close_attempt_row,
    open_attempt,
    record_test_results,
)
from support.nasty import names, texts

from .conftest import Query
from .tasks.test_stage import render

# Each example restores the databases, so all examples may share the fixtures.
examples = partial(settings, suppress_health_check=[HealthCheck.function_scoped_fixture])
HOUR = ("2018-01-03 10:00:00", "2018-01-03 11:00:00")
TABLE = "order"


class UndoError(Exception):
    """Raised at the end of an example, to roll its transaction back."""


@pytest.mark.parametrize("standard", ["on", "off"])
@examples(max_examples=100)
@given(name=names, text=texts)
def test_name_and_literal_are_read_as_they_are(gold: Query, standard: str, name: str, text: str) -> None:
    gold(f"set standard_conforming_strings = {standard}")
    [(row,)] = gold(f"select row_to_json(t) from (select {literal(text)} as {quote(name)}) as t")
    assert row == {name: text}


@pytest.mark.parametrize("function", [quote, literal])
def test_character_0_is_refused(function: Any) -> None:
    with pytest.raises(ValueError, match=r"'a\\x00; drop' holds the character 0"):
        function("a\0; drop")


@pytest.fixture
def declared(source: Query, monkeypatch: pytest.MonkeyPatch) -> list[SourceTable]:
    """Let the project declare the source tables of this list; a test fills the list."""
    declared: list[SourceTable] = []
    for module in (source_module, cursors_module):
        monkeypatch.setattr(module, "source_tables", lambda: declared)
    monkeypatch.setattr(source_module, "columns_read", dict)
    return declared


@examples(max_examples=10)
@given(schema=names, name=names, cursor=names, model=texts, zone=texts)
def test_source_is_checked_and_read(source: Query, declared: list[SourceTable], **texts: str) -> None:
    schema, name, cursor, model, zone = (
        texts[part] for part in ("schema", "name", "cursor", "model", "zone")
    )
    path = f"{quote(schema)}.{quote(name)}"
    source("alter database source set standard_conforming_strings = off")
    source(f"create schema {quote(schema)}; create table {path} ({quote(cursor)} timestamptz not null)")
    try:
        source(f"insert into {path} values ('2018-01-03T10:00Z')")
        declared[:] = [SourceTable(model, schema, name, cursor)]
        check_source()
        check_cursors()
        assert read_clock().oldest == datetime(2018, 1, 3, 10, tzinfo=UTC)
        assert changed_models(*HOUR) == {model}
        declared[:] = [SourceTable(model, schema, name, cursor, zone=zone)]
        with pytest.raises(CursorError, match="is no time zone of the source"):
            check_cursors()
    finally:
        source(f"drop schema {quote(schema)} cascade")
        source("alter database source reset all")


column_names = names.filter(
    lambda name: name == name.lower() and "." not in name and name not in ("_deleted", "_batch")
)


@examples(max_examples=10)
@given(columns=st.lists(column_names, min_size=3, max_size=4, unique=True), comment=texts)
def test_contract_is_staged_published_and_changed(
    gold: Query, monkeypatch: pytest.MonkeyPatch, columns: list[str], comment: str
) -> None:
    """The second contract lacks a column of the first and has a new one; a column's comment stays."""
    first, second = (
        GoldTable(TABLE, names[:1], dict.fromkeys(names, "varchar"))
        for names in (columns[:-1], columns[:1] + columns[2:])
    )
    with pytest.raises(UndoError), transaction() as cursor:
        for number, table in enumerate((first, second)):
            monkeypatch.setattr(tables, "gold_tables", lambda table=table: [table])
            staging = f"{TABLE}_{number}_1"
            described = ", ".join(f"{quote(name)} text" for name in table.columns)
            cursor.execute(f"create table staging.{staging} ({described}, _deleted boolean)".encode())
            values = [*table.columns, False]
            cursor.execute(
                f"insert into staging.{staging} values ({', '.join(['%s'] * len(values))})".encode(), values
            )
            staged: Any = {"staging": f"{number}_1", "snapshots": {}, "columns": {}, "base_snapshots": {}}
            tables.apply_staged_rows(cursor, staged)
            assert tables.count_published_rows(cursor) == {TABLE: 1}
            comment_on(cursor, comment, TABLE, columns[0])
            published = published_tables(cursor)[TABLE]
            assert published.has_shape_of(table)
            assert published.comments[columns[0]] == comment
            cursor.execute(f"select to_jsonb(t) as row from gold.{quote(TABLE)} as t".encode())
            assert cursor.fetchall()[0].row == {name: name for name in table.columns}
        raise UndoError


@examples(max_examples=20)
@given(columns=st.lists(column_names, min_size=2, max_size=3, unique=True))
def test_statement_that_stages_has_the_names(columns: list[str]) -> None:
    table = GoldTable(TABLE, columns[:1], dict.fromkeys(columns, "varchar"))
    audited: dict[str, Any] = {
        "staging": "7_1", "snapshots": {f"gold.{TABLE}": 2}, "base_snapshots": {f"gold.{TABLE}": 1},
        "columns": {f"gold.{TABLE}": columns}, "base_batch": 5,
    }  # fmt: skip
    statement = sqlglot.parse_one(render("publish/stage.sql", table, audited), dialect="trino")
    assert [column.alias for column in statement.find(sqlglot.exp.CTE).this.selects] == [*columns, ""]
    identifiers = {identifier.name for identifier in statement.find_all(sqlglot.exp.Identifier)}
    assert identifiers - {*columns} == {
        "postgres_gold", "staging", "order_7_1", "gold", "lake", "order", "_batch", "_deleted", "changed", "vanished",
        "final", "published",
    }  # fmt: skip


@examples(max_examples=10)
@given(run=texts, test=texts, error=texts)
def test_attempts_keep_what_they_are_given(gold: Query, run: str, test: str, error: str) -> None:
    attempt = AttemptId("medallion_hourly", run, "gold.readings_by_day", 1)
    with pytest.raises(UndoError), transaction() as cursor:
        open_attempt(cursor, attempt)
        record_test_results(cursor, attempt, [TestResult(test, "fail", 1)])
        close_attempt_row(cursor, attempt, "failed", f"{error}\0")
        cursor.execute(
            "select run_id, error, test_name from audit.data_pipeline_runs inner join audit.test_results using (run_id)"
        )
        assert [*map(tuple, cursor.fetchall())] == [(run, error, test)]
        raise UndoError


@given(start=texts, end=texts)
def test_bounds_of_a_window_are_moments(start: str, end: str) -> None:
    with pytest.raises(WindowError):
        window_from_params(start, end)
