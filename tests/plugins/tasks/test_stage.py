"""The difference that is staged: the statement itself, run by DuckDB in Trino's place, with tables for snapshots."""

import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medallion.engines.postgres import rendered

# A row of readings_by_device_month by its key: its orders, and the batch that last changed it.
Key = tuple[str, str]
Table = dict[Key, tuple[int, int]]
TABLE = {
    "name": "readings_by_device_month",
    "key": ["state", "month"],
    "contract": {"state": "varchar", "month": "varchar", "delivered_orders": "bigint"},
}
BASE_BATCH = 5

Staged = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def staged() -> Iterator[Staged]:
    """Stage from the table as audited, and as published before: rows of (state, month, orders, _deleted)."""
    with duckdb.connect() as engine:
        for name in ("lake", "postgres_gold"):
            engine.execute(f"attach ':memory:' as {name}")
        for schema in ("lake.gold", "lake.snapshot", "postgres_gold.staging"):
            engine.execute(f"create schema {schema}")

        def stage(audited: Table | None, published: Table | None, *known: str) -> list[tuple[Any, ...]]:
            # What the table is now is neither: it must not be read.
            for name, rows in (("gold.readings_by_device_month", {("XX", "now"): (1, 99)}),
                               ("snapshot.s43", audited or {}), ("snapshot.s42", published or {})):  # fmt: skip
                columns = "state varchar, month varchar, delivered_orders bigint, _batch bigint"
                engine.execute(f"create or replace table lake.{name} ({columns})")
                for key, values in rows.items():
                    engine.execute(f"insert into lake.{name} values (?, ?, ?, ?)", [*key, *values])
            name = f"gold.{TABLE['name']}"
            audit = SimpleNamespace(
                staging="7_2", snapshots={} if audited is None else {name: 43}, base_batch=BASE_BATCH,
                base_snapshots={} if published is None else {name: 42},
                columns={name: known} if known else {},
            )  # fmt: skip
            variables = {
                "ti": None,
                "tag": lambda _: "t",
                "run_state": lambda _: None,
                "table": TABLE,
                "audited": audit,
            }
            for file in ("drop_staging.sql", "stage.sql"):
                statement = rendered(file, **variables).decode()
                engine.execute(
                    re.sub(r"lake\.gold\.\w+ for version as of (\d+)", r"lake.snapshot.s\1", statement)
                )
            return engine.execute(
                "from postgres_gold.staging.readings_by_device_month_7_2 order by all"
            ).fetchall()

        yield stage


SP, RJ = ("SP", "2018-01"), ("RJ", "2018-01")


def test_without_a_publication_every_row_is_staged(staged: Staged) -> None:
    assert staged({SP: (3, 1), RJ: (4, 6)}, None) == [
        ("RJ", "2018-01", 4, False),
        ("SP", "2018-01", 3, False),
    ]


def test_table_that_had_no_snapshot_yet_is_staged_empty(staged: Staged) -> None:
    assert staged(None, None) == []


def test_column_younger_than_the_audited_snapshot_is_null(staged: Staged) -> None:
    assert staged({SP: (3, 1)}, None, "state", "month") == [("SP", "2018-01", None, False)]


def test_row_changed_since_the_publication_is_staged_and_no_other(staged: Staged) -> None:
    assert staged({SP: (3, BASE_BATCH), RJ: (9, 6)}, {SP: (3, BASE_BATCH), RJ: (4, 2)}) == [
        ("RJ", "2018-01", 9, False)
    ]


def test_row_that_is_gone_is_staged_as_deleted_by_its_key(staged: Staged) -> None:
    assert staged({SP: (3, 1)}, {SP: (3, 1), RJ: (4, 2)}) == [("RJ", "2018-01", None, True)]


def test_rows_are_told_apart_by_every_column_of_the_key(staged: Staged) -> None:
    before = {("SP", "2018-01"): (1, 1), ("SP", "2018-02"): (2, 1), ("RJ", "2018-02"): (3, 1)}
    after = {("SP", "2018-01"): (1, 1), ("RJ", "2018-02"): (3, 1)}
    assert staged(after, before) == [("SP", "2018-02", None, True)]


keys = st.tuples(st.sampled_from(["SP", "RJ"]), st.sampled_from(["2018-01", "2018-02", "2018-03"]))
published_tables = st.dictionaries(keys, st.tuples(st.integers(0, 9), st.integers(1, BASE_BATCH)))
changes = st.dictionaries(keys, st.none() | st.integers(0, 9))


@settings(max_examples=60, deadline=None)
@given(before=published_tables, changed=changes)
def test_what_is_staged_makes_the_published_table_the_audited_one(
    staged: Staged, before: Table, changed: dict[Key, int | None]
) -> None:
    after = {key: row for key, row in before.items() if changed.get(key, 0) is not None}
    after |= {key: (orders, BASE_BATCH + 1) for key, orders in changed.items() if orders is not None}
    result = {key: orders for key, (orders, _) in before.items()}
    for state, month, orders, deleted in staged(after, before):
        if deleted:
            del result[state, month]
        else:
            result[state, month] = orders
    assert result == {key: orders for key, (orders, _) in after.items()}
