"""The whole pipeline, from an empty stack. Its tables must equal the tables that DuckDB computes from the source.

The tests depend on one another, in the order of this file.
"""

import json
import re
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from oracle import ENTITIES, GOLD, Expected, canonical_key
from oracle.model import MODELS

from .conftest import NOTIFICATIONS, Stack


def pin_to_first_publication(stack: Stack, table: str) -> str:
    """Return a table of the lake for a `from` clause, at its snapshot in the first publication."""
    [(snapshot,)] = stack.query_audit(
        "select snapshot_id from audit.snapshots"
        f" where table_name = ''{table}'' and batch = (select min(batch) from audit.snapshots)"
    )
    return f"{table} for version as of {snapshot}"


def list_columns(expected: Expected, table: str) -> str:
    """Return the columns of a table that the oracle computes, separated by commas."""
    return ", ".join(expected.columns(table))


def sort_by_key(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return (entity, key, value) rows sorted, with each key in its canonical spelling."""
    return sorted((entity, canonical_key(key), value) for entity, key, value in rows)


@pytest.mark.parametrize("table", GOLD)
def test_gold_of_the_history(stack: Stack, first_run: str, history: Expected, table: str) -> None:
    actual = stack.query_trino(
        f"select {list_columns(history, table)} from {pin_to_first_publication(stack, f'gold.{table}')}"
    )
    assert history.diff(table, actual) == ""


@pytest.mark.parametrize("table", MODELS)
def test_silver_of_the_history(stack: Stack, first_run: str, history: Expected, table: str) -> None:
    actual = stack.query_trino(
        f"select {list_columns(history, table)} from {pin_to_first_publication(stack, f'silver.{table}')}"
    )
    assert history.diff(table, actual) == ""


def test_quarantine_of_the_history(stack: Stack, first_run: str, history: Expected) -> None:
    rows = stack.query_trino(
        "select entity, key, array_join(array_sort(rules), ',')"
        f" from {pin_to_first_publication(stack, 'silver.quarantine')} where not superseded"
    )
    assert sort_by_key(rows) == [
        (entity, key, ",".join(rules)) for entity, key, rules in history.quarantine()
    ]


def test_flags_of_the_history(stack: Stack, first_run: str, history: Expected) -> None:
    rows = [
        (entity, *row)
        for entity in ENTITIES
        for row in stack.query_trino(
            f"select _raw_key, flag from {pin_to_first_publication(stack, f'silver.stg_{entity}')}"
            " cross join unnest(_flags) as flags (flag) where _state = 'current'"
        )
    ]
    assert sort_by_key(rows) == history.flags()


def test_bi_reads_the_present_state_of_the_source(stack: Stack, first_run: str) -> None:
    assert stack.find_differences() == {}


def test_run_shows_its_figures(first_run: str) -> None:
    for table in GOLD:
        assert re.search(rf"{table} +│ +[1-9]", first_run)
    assert "Stop everything:  make down" in first_run


def test_every_row_version_is_accounted_for(stack: Stack, first_run: str) -> None:
    accounts = stack.query_audit(
        "select entity, read, current, deleted, superseded, quarantined from audit.entity_accounts"
    )
    assert {entity for entity, *_ in accounts} == set(ENTITIES)
    for entity, read, *parts in accounts:
        assert read == sum(parts), entity
    captured = {
        entity: stack.query_trino(f"select count(*) from bronze.{entity}")[0][0] for entity in ENTITIES
    }
    assert sum(read for _, read, *_ in accounts) >= sum(captured.values())


def test_audit_has_a_row_per_attempt(stack: Stack, first_run: str) -> None:
    attempts = stack.query_audit(
        "select batch, task_id, status, records_processed from audit.data_pipeline_runs"
    )
    published = [batch for batch, task, status, _ in attempts if task == "publish" and status == "success"]
    assert len(published) >= 2
    first = {
        task: records
        for batch, task, status, records in attempts
        if batch == min(published) and status == "success"
    }
    assert first["silver_staging.spark"] == sum(first[f"bronze.{entity}"] for entity in ENTITIES)
    [(days,)] = stack.query_trino(
        f"select count(*) from {pin_to_first_publication(stack, 'gold.sales_by_day')}"
    )
    assert first["gold.sales_by_day"] == first["stage.sales_by_day"] == days


def test_publication_shows_its_age(stack: Stack, first_run: str) -> None:
    [(run_id, window_end, published_at)] = stack.query_gold(
        "select run_id, window_end, published_at from gold.publication"
    )
    [(newest,)] = stack.query_source("select max(updated_at) from sales.orders")
    assert run_id.startswith(("manual__", "scheduled__"))
    assert newest <= window_end <= published_at


def test_bi_may_read_only_gold(stack: Stack, first_run: str) -> None:
    allowed = "has_schema_privilege('{}', 'usage')"
    [row] = stack.query_gold(
        f"select {', '.join(allowed.format(name) for name in ('gold', 'audit', 'staging'))}"
    )
    assert row == (True, False, False)
    assert stack.query_gold("select has_table_privilege('gold.sales_by_day', 'insert')") == [(False,)]


def read_run_id(output: str) -> str:
    """Return the id of the run that a command printed."""
    [run_id] = re.findall(r"^Run (\S+):", output, re.MULTILINE)
    return str(run_id)


def test_long_window_is_captured_in_chunks_that_cover_it(stack: Stack, first_run: str) -> None:
    [(bounds,)] = stack.query_source(
        "select percentile_disc(array[0.2, 0.3]) within group (order by updated_at at time zone 'UTC')"
        " from sales.orders",
    )
    start, end = map(str, bounds)
    output = stack.run_bronze(
        "orders", kind="ranged", batch=stack.draw_batch(), chunk_rows=100, extract_from=start, extract_to=end
    )
    chunks = re.findall(r"captured from timestamp '(.+?) UTC' to timestamp '(.+?) UTC'", output)
    assert [chunks[0][0], *(to for _, to in chunks)] == [*(since for since, _ in chunks), end]
    assert chunks[0][0] == start
    in_hour = "select date_trunc('hour', updated_at), count(*) as rows from sales.orders group by 1"
    [(busiest,)] = stack.query_source(f"select max(rows) from ({in_hour}) as hours")
    counts = [
        stack.query_source(
            f"select count(*) from sales.orders where updated_at >= '{since}Z' and updated_at < '{to}Z'",
        )[0][0]
        for since, to in chunks
    ]
    assert len(counts) > 2 and min(counts) > 0 and max(counts) < 100 + busiest


def test_hour_with_very_many_rows_is_captured_in_buckets(stack: Stack, first_run: str) -> None:
    """The sellers of an hour may all have the same `updated_at`, so that no shorter window divides them."""
    [(hour, rows)] = stack.query_source(
        "select date_trunc('hour', updated_at at time zone 'UTC') as hour, count(*) from sales.sellers"
        " group by 1 order by 2 desc, 1 limit 1",
    )
    in_hour = (
        f"updated_at >= timestamptz '{hour}Z' and updated_at < timestamptz '{hour + timedelta(hours=1)}Z'"
    )
    in_bronze = in_hour.replace("timestamptz", "timestamp").replace("Z'", " UTC'")
    stack.query_trino(f"delete from bronze.sellers where {in_bronze}")
    output = stack.run_bronze(
        "sellers", kind="ranged", batch=stack.draw_batch(), chunk_rows=rows // 4,
        extract_from=str(hour), extract_to=str(hour + timedelta(hours=1)),
    )  # fmt: skip
    assert re.search(r"captured from .* in [3-9] buckets", " ".join(output.split()))
    assert stack.query_trino(
        f"select distinct seller_id from bronze.sellers where {in_bronze} order by 1"
    ) == stack.query_source(
        f'select distinct seller_id collate "C" from sales.sellers where {in_hour} order by 1'
    )


def test_capture_reads_only_the_window_by_a_role_with_limits(stack: Stack, first_run: str) -> None:
    stack.run_bronze(
        "orders", kind="ranged", batch=stack.draw_batch(), chunk_rows=1_000_000,
        extract_from="2000-01-01 00:00:00", extract_to="2100-01-01 00:00:00",
    )  # fmt: skip
    models = stack.dbt.folder / "trino" / "run" / "medallion" / "models"
    statement = (models / "bronze" / "orders.sql").read_text()
    plan = "\n".join(line for (line,) in stack.query_trino(f"explain {statement}"))
    scans = re.findall(r'from "sales"\."orders" as source\s+where (.*)', plan)
    bounds = r'source\."updated_at" >= \'.+\' and source\."updated_at" < \'.+\''
    assert scans and all(re.search(bounds, scan) for scan in scans), plan
    assert stack.query_source(
        "select rolconnlimit, rolconfig from pg_roles where rolname = 'source_reader'"
    ) == [(20, ["default_transaction_read_only=on", "statement_timeout=15min"])]


def test_changed_type_of_a_column_that_no_model_names_stops_nothing(stack: Stack, first_run: str) -> None:
    def change_and_capture(statement: str, fails: bool = False) -> str:
        stack.query_source(statement)
        return stack.run_bronze(
            "products", kind="ranged", batch=stack.draw_batch(), chunk_rows=1_000_000,
            extract_from="2000-01-01 00:00:00", extract_to="2100-01-01 00:00:00", fails=fails,
        )  # fmt: skip

    change_and_capture(
        "alter table sales.products add column stars numeric(3,1), add column rank integer, add column since text"
    )
    change_and_capture(
        "alter table sales.products alter column stars type numeric(6,1), alter column rank type bigint"
    )
    change_and_capture(
        "update sales.products set stars = 12345.6, rank = 3000000000, since = '2018-01-05 22:00:00'"
        " where product_id = (select max(product_id) from sales.products)"
    )
    assert stack.query_trino("select stars, rank, since from bronze.products where stars is not null") == [
        (Decimal("12345.6"), 3_000_000_000, "2018-01-05 22:00:00")
    ]
    # Bronze's `stars` cannot hold a third decimal place, and its `since` is text instead of a timestamp.
    output = change_and_capture(
        "alter table sales.products alter column stars type numeric(8,3),"
        " alter column since type timestamp using since::timestamp;"
        " update sales.products set stars = 12345.678"
        " where product_id = (select max(product_id) from sales.products)"
    )
    assert "sales.products.stars, sales.products.since: the type at the source changed" in " ".join(
        output.split()
    )
    [(stars, since, unkept)] = stack.query_trino(
        "select stars, since, _unkept from bronze.products where _unkept is not null"
    )
    assert (stars, since) == (None, None)
    assert json.loads(unkept) == {"stars": "12345.678", "since": "2018-01-05 22:00:00"}
    output = change_and_capture(
        "alter table sales.products drop column stars, drop column rank, drop column since;"
        "alter table sales.products rename column product_id to id",
        fails=True,
    )
    assert "The source has no column sales.products.product_id that its reader may" in " ".join(
        output.split()
    )
    change_and_capture("alter table sales.products rename column id to product_id")


def test_lost_column_fails_the_run_by_its_name_and_is_notified(stack: Stack, first_run: str) -> None:
    stack.query_source("alter table sales.orders rename column order_status to status")
    try:
        output = stack.run("trigger", status=1)
    finally:
        stack.query_source("alter table sales.orders rename column status to order_status")
    assert "sales.orders: the source has no column order_status" in " ".join(output.split())
    # The run failed in `begin`, whose attempts are not recorded.
    attempts = f"select count(*) from audit.data_pipeline_runs where run_id = ''{read_run_id(output)}''"
    assert stack.query_audit(attempts) == [(0,)]
    notifications = (stack.settings.home / NOTIFICATIONS).read_text().splitlines()
    assert f"begin of {read_run_id(output)} failed" in notifications


def test_late_gold_is_notified(stack: Stack, first_run: str) -> None:
    # The deadline of the first scheduled run passed before the history was published.
    notifications = (stack.settings.home / NOTIFICATIONS).read_text()
    assert re.search(r"^deadline of scheduled__\S+ failed$", notifications, re.MULTILINE)


def test_every_dbt_test_passes_on_whole_tables_and_every_unit_test(stack: Stack, first_run: str) -> None:
    output = stack.run("dbt-test")
    assert re.search(r"fact_sales_shares_payments_by_price_and_freight .*PASS", output)


def test_documentation_shows_the_lineage_from_source_to_gold(stack: Stack, first_run: str) -> None:
    [page] = re.findall(r"Open in a browser: (.+)", stack.run("docs"))
    text = Path(page).read_text()
    for name in (
        "source.medallion.sales.orders",
        "model.medallion.fact_sales",
        "model.medallion.sales_by_day",
    ):
        assert name in text


def test_status_shows_every_service_running(stack: Stack, first_run: str) -> None:
    output = stack.run("status")
    for service in ("postgres", "trino", "thrift", "api-server", "scheduler", "dag-processor", "triggerer"):
        assert re.search(rf"{service} +running +\d+", output), output


@pytest.mark.long
def test_rebuild_changes_nothing(stack: Stack, first_run: str) -> None:
    before = stack.read_published()
    stack.run("trigger", "--rebuild", "silver")
    assert stack.read_published() == before
    assert stack.query_audit("select rebuild from audit.pipeline") == [("none",)]
