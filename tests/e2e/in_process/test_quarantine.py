"""Every injected anomaly is reported as what it is, kind by kind; and every row version is accounted for."""

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from medallion.engines.postgres import transaction
from medallion.run.window import RunKind, Window
from oracle import ENTITIES, canonical_key
from oracle.model import MODELS
from sample.shop import TABLES

from ..conftest import Stack
from .pipeline import WarmPipeline

Injected = list[dict[str, Any]]


@pytest.fixture(scope="module")
def injected(stack: Stack, pipeline: WarmPipeline, tmp_path_factory: pytest.TempPathFactory) -> Injected:
    """A shop with every kind of anomaly, and its history in one run. What was done to which row."""
    manifest = tmp_path_factory.mktemp("manifest") / "bad.jsonl"
    pipeline.forget("bronze", "silver", "gold")
    stack.run(
        *("exec", "--", "python", "-m", "sample", "generate", "--orders", "3000", "--replace"),
        *("--anomalies", "all", "--manifest", str(manifest)),
    )
    pipeline.run("history", RunKind.RANGED, Window(datetime(2000, 1, 1, tzinfo=UTC), datetime.now(UTC)))
    return read(manifest)


def read(manifest: Path) -> Injected:
    return [json.loads(line) for line in manifest.read_text().splitlines()]


def told(injected: Injected, outcome: str) -> Counter[tuple[str, str, str]]:
    """(entity, key, rule) of the rows with the outcome, and how often."""
    return Counter(
        (row["entity"], key_text(row["key"]), row["rule"]) for row in injected if row["outcome"] == outcome
    )


def key_text(key: list[str | int | None]) -> str:
    return canonical_key(json.dumps([None if part is None else str(part) for part in key]))


def found(stack: Stack, statement: str) -> Counter[tuple[str, str, str]]:
    return Counter((entity, canonical_key(key), rule) for entity, key, rule in stack.lake(statement))


def test_quarantine_holds_what_was_injected_and_no_more(stack: Stack, injected: Injected) -> None:
    reported = found(
        stack,
        "select entity, key, rule from silver.quarantine cross join unnest(rules) as broken (rule)"
        " where not superseded",
    )
    assert reported == told(injected, "quarantined")
    assert {row["kind"] for row in injected if row["outcome"] == "quarantined"} == {
        "missing", "blank", "unparsable", "huge", "negative", "out_of_range", "unknown",
    }  # fmt: skip


def test_flags_are_what_was_injected_and_no_more(stack: Stack, injected: Injected) -> None:
    reported: Counter[tuple[str, str, str]] = Counter()
    for entity in ENTITIES:
        reported += found(
            stack,
            f"select '{entity}', _raw_key, flag from silver.stg_{entity}"
            " cross join unnest(_flags) as flags (flag) where _state = 'current'",
        )
    assert reported == told(injected, "flagged")


def test_accounts_add_up_to_what_was_injected(stack: Stack, injected: Injected) -> None:
    outcomes = Counter((row["entity"], row["outcome"]) for row in injected)
    copies = Counter(row["entity"] for row in injected if row["kind"] == "duplicate")
    for entity, read, current, deleted, superseded, quarantined in stack.audit(
        "select entity, read, current, deleted, superseded, quarantined from audit.entity_accounts"
    ):
        [(rows,)] = stack.rows("SOURCE_URL", f"select count(*) from sales.{entity}")
        # The same row twice is one version.
        assert read == rows - copies[entity], entity
        assert (deleted, superseded) == (0, outcomes[entity, "superseded"]), entity
        assert quarantined == outcomes[entity, "quarantined"], entity
        assert current == read - superseded - quarantined, entity


def test_new_columns_are_captured_as_they_were_injected_and_no_more(stack: Stack, injected: Injected) -> None:
    new = [row for row in injected if row["kind"] == "new_column"]
    assert {row["entity"] for row in new} == {"orders", "products"}
    for entity, column in {(row["entity"], row["column"]) for row in new}:
        captured = stack.lake(
            f"select {TABLES[entity][0]} from bronze.{entity} where {column} is not null order by 1"
        )
        assert captured == sorted(tuple(row["key"]) for row in new if row["entity"] == entity)


def test_corrected_row_leaves_quarantine(stack: Stack, pipeline: WarmPipeline, injected: Injected) -> None:
    bad = next(row for row in injected if row["kind"] == "negative" and row["column"] == "price")
    order, item = bad["key"]
    key = f"order_id = '{order}' and cast(order_item_id as varchar) = '{item}'"
    assert stack.lake(f"select price from silver.stg_order_items where {key} and _state = 'current'") == []
    stack.rows("SOURCE_URL", f"update sales.order_items set price = '7.00' where {key}")
    pipeline.run("mended", RunKind.MANUAL)
    states = stack.lake(
        f"select superseded from silver.quarantine where entity = 'order_items' and key like '%{order}%{item}%'"
    )
    assert states == [(True,)]
    [(price,)] = stack.lake(f"select price from silver.stg_order_items where {key} and _state = 'current'")
    assert str(price) == "7.00"
    assert stack.differences() == {}


def test_tables_that_are_new_or_that_bi_lost_are_published_whole(
    stack: Stack, pipeline: WarmPipeline, injected: Injected
) -> None:
    """As after two models were added, and after somebody dropped a table that BI reads, by a run with little news."""
    stack.lake("drop table gold.sales_by_day")
    stack.lake("drop table silver.dim_sellers")
    with transaction() as cursor:
        cursor.execute("drop table gold.sales_by_day, gold.seller_analytics")
        cursor.execute(
            "update audit.pipeline set published_snapshots = published_snapshots"
            " - array['gold.sales_by_day', 'silver.dim_sellers']"
        )
    stack.rows(
        "SOURCE_URL",
        "update sales.orders set order_status = 'canceled' where order_id = ("
        " select max(order_id) from sales.orders where order_status = 'delivered')",
    )
    pipeline.run("deployed", RunKind.MANUAL)
    assert stack.differences(*MODELS) == {}
