"""Each injected anomaly is reported with the rule that it breaks, and the counts of row versions add up."""

import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from medallion.engines.postgres import transaction
from medallion.run.window import RunKind, Window
from oracle import ENTITIES, canonical_key
from oracle.model import MODELS
from sample.shop import TABLES

from ..conftest import Stack
from .pipeline import InProcessPipeline

Injected = list[dict[str, Any]]


@pytest.fixture(scope="module")
def injected(stack: Stack, pipeline: InProcessPipeline, tmp_path_factory: pytest.TempPathFactory) -> Injected:
    """Generate a shop with every kind of anomaly and run the pipeline; return the generator's list of the anomalies."""
    manifest = tmp_path_factory.mktemp("manifest") / "bad.jsonl"
    pipeline.forget("bronze", "silver", "gold")
    stack.run(
        *("exec", "--", "python", "-m", "sample", "generate", "--orders", "3000", "--replace"),
        *("--anomalies", "all", "--manifest", str(manifest)),
    )
    pipeline.run("history", RunKind.RANGED, Window(datetime(2000, 1, 1, tzinfo=UTC), datetime.now(UTC)))
    return [json.loads(line) for line in manifest.read_text().splitlines()]


def count_injected(injected: Injected, outcome: str) -> Counter[tuple[str, str, str]]:
    """Return how often each (entity, key, rule) was injected with the given outcome, such as `quarantined`."""
    return Counter(
        (row["entity"], format_key(row["key"]), row["rule"]) for row in injected if row["outcome"] == outcome
    )


def format_key(key: list[str | int | None]) -> str:
    """Return a key of the generator's record as silver writes it."""
    return canonical_key(json.dumps([None if part is None else str(part) for part in key]))


def count_reported(stack: Stack, statement: str) -> Counter[tuple[str, str, str]]:
    """Run a statement on Trino that returns (entity, key, rule), and count equal rows."""
    return Counter((entity, canonical_key(key), rule) for entity, key, rule in stack.query_trino(statement))


def test_quarantine_has_exactly_the_injected_rows(stack: Stack, injected: Injected) -> None:
    reported = count_reported(
        stack,
        "select entity, key, rule from silver.quarantine cross join unnest(rules) as broken (rule)"
        " where not superseded",
    )
    assert reported == count_injected(injected, "quarantined")
    assert {row["kind"] for row in injected if row["outcome"] == "quarantined"} == {
        "missing", "blank", "unparsable", "huge", "negative", "out_of_range", "unknown",
    }  # fmt: skip


def test_flags_are_exactly_the_injected_ones(stack: Stack, injected: Injected) -> None:
    reported: Counter[tuple[str, str, str]] = Counter()
    for entity in ENTITIES:
        reported += count_reported(
            stack,
            f"select '{entity}', _raw_key, flag from silver.stg_{entity}"
            " cross join unnest(_flags) as flags (flag) where _state = 'current'",
        )
    assert reported == count_injected(injected, "flagged")


def test_accounts_add_up_to_the_injected_rows(stack: Stack, injected: Injected) -> None:
    outcomes = Counter((row["entity"], row["outcome"]) for row in injected)
    copies = Counter(row["entity"] for row in injected if row["kind"] == "duplicate")
    for entity, read, current, deleted, superseded, quarantined in stack.query_audit(
        "select entity, read, current, deleted, superseded, quarantined from audit.entity_accounts"
    ):
        [(rows,)] = stack.query_source(f"select count(*) from sales.{entity}")
        # Bronze has one version of identical copies of a row.
        assert read == rows - copies[entity], entity
        assert (deleted, superseded) == (0, outcomes[entity, "superseded"]), entity
        assert quarantined == outcomes[entity, "quarantined"], entity
        assert current == read - superseded - quarantined, entity


def test_new_columns_are_captured_for_exactly_the_injected_rows(stack: Stack, injected: Injected) -> None:
    new = [row for row in injected if row["kind"] == "new_column"]
    assert {row["entity"] for row in new} == {"orders", "products"}
    for entity, column in {(row["entity"], row["column"]) for row in new}:
        captured = stack.query_trino(
            f"select {TABLES[entity][0]} from bronze.{entity} where {column} is not null order by 1"
        )
        assert captured == sorted(tuple(row["key"]) for row in new if row["entity"] == entity)


def test_corrected_row_leaves_quarantine(
    stack: Stack, pipeline: InProcessPipeline, injected: Injected
) -> None:
    bad = next(row for row in injected if row["kind"] == "negative" and row["column"] == "price")
    order, item = bad["key"]
    key = f"order_id = '{order}' and cast(order_item_id as varchar) = '{item}'"
    assert (
        stack.query_trino(f"select price from silver.stg_order_items where {key} and _state = 'current'")
        == []
    )
    stack.query_source(f"update sales.order_items set price = '7.00' where {key}")
    pipeline.run("fixed", RunKind.MANUAL)
    states = stack.query_trino(
        f"select superseded from silver.quarantine where entity = 'order_items' and key like '%{order}%{item}%'"
    )
    assert states == [(True,)]
    [(price,)] = stack.query_trino(
        f"select price from silver.stg_order_items where {key} and _state = 'current'"
    )
    assert str(price) == "7.00"
    assert stack.find_differences() == {}


def test_new_and_lost_tables_are_published_whole(
    stack: Stack, pipeline: InProcessPipeline, injected: Injected
) -> None:
    """Two lake tables are dropped and no longer listed as published; two gold tables of PostgreSQL are dropped.

    The run has only one changed row, but must publish all rows of these tables.
    """
    stack.query_trino("drop table gold.sales_by_day")
    stack.query_trino("drop table silver.dim_sellers")
    with transaction() as cursor:
        cursor.execute("drop table gold.sales_by_day, gold.seller_analytics")
        cursor.execute(
            "update audit.pipeline set published_snapshots = published_snapshots"
            " - array['gold.sales_by_day', 'silver.dim_sellers']"
        )
    stack.query_source(
        "update sales.orders set order_status = 'canceled' where order_id = ("
        " select max(order_id) from sales.orders where order_status = 'delivered')",
    )
    pipeline.run("deployed", RunKind.MANUAL)
    assert stack.find_differences(*MODELS) == {}
