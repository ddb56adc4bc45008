"""The statement that stages the difference. DuckDB runs it instead of Trino, with a table for each snapshot."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import duckdb
import pytest
from airflow.sdk import DAG
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Environment, FileSystemLoader, Template

from medallion.engines.leftovers import tag
from medallion.project.contracts import GoldTable, gold_tables
from medallion.settings import SQL
from medallion.settings import settings as package_settings
from medallion.tasks.stage import STATEMENTS, stage_tables, staging_statement
from support.task_instance import Task

from ..conftest import Query

Key = tuple[str, str]
# Key of a row -> its number of readings, and the batch that last changed the row.
Table = dict[Key, tuple[int, int]]
TABLE = GoldTable(
    name="readings_by_device_month",
    key=["device_id", "month"],
    contract={"device_id": "varchar", "month": "varchar", "readings": "bigint"},
)
BASE_BATCH = 5

Staged = Callable[..., list[tuple[Any, ...]]]


def render(file: str, table: GoldTable, audited: dict[str, Any]) -> str:
    """Render a statement as the task of a table does; `audited` is the result of the task `audit`."""
    ti = Task("a", f"stage.{table.name}", xcoms={"audit": audited})
    return compile_template(staging_statement(file, table, "audit")).render(ti=ti, tag=tag)


@cache
def compile_template(text: str) -> Template:
    """Compile a task's template, which may include files of include/sql, as in Airflow."""
    return Environment(loader=FileSystemLoader(SQL)).from_string(text)  # noqa: S701, SQL is not HTML


@pytest.fixture(scope="module")
def staged() -> Iterator[Staged]:
    """Stage the difference between the audited and the published table.

    The fixture is a function that returns the staged rows: (device, month, readings, _deleted).
    """
    with duckdb.connect() as engine:
        for name in ("lake", "postgres_gold"):
            engine.execute(f"attach ':memory:' as {name}")
        for schema in ("lake.snapshot", "postgres_gold.staging"):
            engine.execute(f"create schema {schema}")

        def stage(audited: Table | None, published: Table | None, *known: str) -> list[tuple[Any, ...]]:
            # Create only the tables of the snapshots, so that a statement that reads the table itself fails.
            for name, rows in (("s43", audited), ("s42", published)):
                columns = "device_id varchar, month varchar, readings bigint, _batch bigint"
                engine.execute(f"create or replace table lake.snapshot.{name} ({columns})")
                if rows:
                    engine.executemany(
                        f"insert into lake.snapshot.{name} values (?, ?, ?, ?)",
                        [[*key, *values] for key, values in rows.items()],
                    )
            name = f"gold.{TABLE.name}"
            result = {
                "staging": "7_2",
                "snapshots": {} if audited is None else {name: 43},
                "columns": {name: known} if known else {},
                "base_batch": BASE_BATCH,
                "base_snapshots": {} if published is None else {name: 42},
            }
            for file in STATEMENTS:
                engine.execute(
                    re.sub(
                        r'lake\.gold\."\w+" for version as of (\d+)',
                        r"lake.snapshot.s\1",
                        render(file, TABLE, result),
                    )
                )
            return engine.execute(f"from postgres_gold.staging.{TABLE.name}_7_2 order by all").fetchall()

        yield stage


B, A = ("b", "2018-01"), ("a", "2018-01")


def test_without_a_publication_every_row_is_staged(staged: Staged) -> None:
    assert staged({B: (3, 1), A: (4, 6)}, None) == [
        ("a", "2018-01", 4, False),
        ("b", "2018-01", 3, False),
    ]


def test_table_that_no_run_has_built_is_staged_empty(staged: Staged) -> None:
    assert staged(None, None) == []


def test_column_younger_than_the_audited_snapshot_is_null(staged: Staged) -> None:
    assert staged({B: (3, 1)}, None, "device_id", "month") == [("b", "2018-01", None, False)]


def test_row_changed_since_the_publication_is_staged_and_no_other(staged: Staged) -> None:
    assert staged({B: (3, BASE_BATCH), A: (9, 6)}, {B: (3, BASE_BATCH), A: (4, 2)}) == [
        ("a", "2018-01", 9, False)
    ]


def test_row_that_is_gone_is_staged_as_deleted_by_its_key(staged: Staged) -> None:
    assert staged({B: (3, 1)}, {B: (3, 1), A: (4, 2)}) == [("a", "2018-01", None, True)]


def test_rows_are_told_apart_by_every_column_of_the_key(staged: Staged) -> None:
    before = {("b", "2018-01"): (1, 1), ("b", "2018-02"): (2, 1), ("a", "2018-02"): (3, 1)}
    after = {("b", "2018-01"): (1, 1), ("a", "2018-02"): (3, 1)}
    assert staged(after, before) == [("b", "2018-02", None, True)]


keys = st.tuples(st.sampled_from(["b", "a"]), st.sampled_from(["2018-01", "2018-02", "2018-03"]))
published_tables = st.dictionaries(keys, st.tuples(st.integers(0, 9), st.integers(1, BASE_BATCH)))
changes = st.dictionaries(keys, st.none() | st.integers(0, 9))


@settings(max_examples=60)
@given(before=published_tables, changed=changes)
def test_what_is_staged_makes_the_published_table_the_audited_one(
    staged: Staged, before: Table, changed: dict[Key, int | None]
) -> None:
    after = {key: row for key, row in before.items() if changed.get(key, 0) is not None}
    after |= {key: (readings, BASE_BATCH + 1) for key, readings in changed.items() if readings is not None}
    result = {key: readings for key, (readings, _) in before.items()}
    for device, month, readings, deleted in staged(after, before):
        if deleted:
            del result[device, month]
        else:
            result[device, month] = readings
    assert result == {key: readings for key, (readings, _) in after.items()}


def test_statements_have_the_tag_of_their_task() -> None:
    audited = {"staging": "7_2", "snapshots": {}, "columns": {}, "base_batch": 0, "base_snapshots": {}}
    for file in STATEMENTS:
        statement = render(file, TABLE, audited)
        assert statement.lstrip().startswith(
            "/* medallion medallion_hourly.stage.readings_by_device_month */"
        )


def test_catalogs_are_those_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALLION_LAKE_CATALOG", "warehouse")
    monkeypatch.setenv("MEDALLION_GOLD_CATALOG", "reports")
    package_settings.cache_clear()
    audited = {"staging": "7_2", "snapshots": {}, "columns": {}, "base_batch": 0, "base_snapshots": {}}
    audited["snapshots"] = {f"gold.{TABLE.name}": 43}
    statement = render(STATEMENTS[1], TABLE, audited)
    assert 'from warehouse.gold."readings_by_device_month"' in statement
    assert 'create table reports.staging."readings_by_device_month_7_2" as' in statement


def test_each_gold_table_has_a_task() -> None:
    with DAG("any", schedule=None) as dag:
        stage_tables(audited_by="audit")
    assert set(dag.task_ids) == {f"stage.{table.name}" for table in gold_tables()}


def test_rendering_a_statement_claims_nothing(gold: Query) -> None:
    audited = {"staging": "7_2", "snapshots": {}, "columns": {}, "base_batch": 0, "base_snapshots": {}}
    for file in STATEMENTS:
        render(file, TABLE, audited)
    assert gold("select lease_run_id, last_batch from audit.pipeline") == [(None, 0)]
