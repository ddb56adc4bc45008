"""From nothing to published gold, and on: every figure is held against what DuckDB makes of the same source.

The tests build on one another, in the order they stand here.
"""

import re
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from oracle import ENTITIES, GOLD, Expected, canonical_key
from oracle.model import MODELS
from stack.airflow_api import AirflowApi
from stack.pipeline import DAG

from .conftest import NOTIFICATIONS, Stack


def at_first_publication(stack: Stack, table: str) -> str:
    """A table of the lake as the first published run left it."""
    [(snapshot,)] = stack.audit(
        "select snapshot_id from audit.snapshots"
        f" where table_name = ''{table}'' and batch = (select min(batch) from audit.snapshots)"
    )
    return f"{table} for version as of {snapshot}"


def columns(expected: Expected, table: str) -> str:
    return ", ".join(expected.columns(table))


def keys(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted((entity, canonical_key(key), value) for entity, key, value in rows)


@pytest.mark.parametrize("table", GOLD)
def test_gold_of_the_history(stack: Stack, first_run: str, history: Expected, table: str) -> None:
    actual = stack.lake(
        f"select {columns(history, table)} from {at_first_publication(stack, f'gold.{table}')}"
    )
    assert history.diff(table, actual) == ""


@pytest.mark.parametrize("table", MODELS)
def test_silver_of_the_history(stack: Stack, first_run: str, history: Expected, table: str) -> None:
    actual = stack.lake(
        f"select {columns(history, table)} from {at_first_publication(stack, f'silver.{table}')}"
    )
    assert history.diff(table, actual) == ""


def test_quarantine_of_the_history(stack: Stack, first_run: str, history: Expected) -> None:
    found = stack.lake(
        "select entity, key, array_join(array_sort(rules), ',')"
        f" from {at_first_publication(stack, 'silver.quarantine')} where not superseded"
    )
    assert keys(found) == [(entity, key, ",".join(rules)) for entity, key, rules in history.quarantine()]


def test_flags_of_the_history(stack: Stack, first_run: str, history: Expected) -> None:
    found = [
        (entity, *row)
        for entity in ENTITIES
        for row in stack.lake(
            f"select _raw_key, flag from {at_first_publication(stack, f'silver.stg_{entity}')}"
            " cross join unnest(_flags) as flags (flag) where _state = 'current'"
        )
    ]
    assert keys(found) == history.flags()


def test_bi_reads_the_source_as_it_is_now(stack: Stack, first_run: str) -> None:
    assert stack.differences() == {}


def test_run_shows_what_it_did(first_run: str) -> None:
    for table in GOLD:
        assert re.search(rf"{table} +│ +[1-9]", first_run)
    assert "Stop everything:  make down" in first_run


def test_every_row_version_is_accounted_for(stack: Stack, first_run: str) -> None:
    accounts = stack.audit("select * from audit.entity_accounts")
    assert {row[1] for row in accounts} == set(ENTITIES)
    for _, entity, read, *parts, _, _ in accounts:
        assert read == sum(parts), entity
    captured = {entity: stack.lake(f"select count(*) from bronze.{entity}")[0][0] for entity in ENTITIES}
    assert sum(row[2] for row in accounts) >= sum(captured.values())


def test_audit_has_a_row_per_try(stack: Stack, first_run: str) -> None:
    tries = stack.audit("select batch, task_id, status, records_processed from audit.data_pipeline_runs")
    published = [batch for batch, task, status, _ in tries if task == "publish" and status == "success"]
    assert len(published) >= 2
    first = {
        task: records
        for batch, task, status, records in tries
        if batch == min(published) and status == "success"
    }
    assert first["silver_staging.spark"] == sum(first[f"bronze.{entity}"] for entity in ENTITIES)
    [(days,)] = stack.lake(f"select count(*) from {at_first_publication(stack, 'gold.sales_by_day')}")
    assert first["gold.sales_by_day"] == first["stage.sales_by_day"] == days


def test_publication_tells_its_age(stack: Stack, first_run: str) -> None:
    [(run_id, window_end, published_at)] = stack.gold(
        "select run_id, window_end, published_at from gold.publication"
    )
    [(newest,)] = stack.rows("SOURCE_URL", "select max(updated_at) from sales.orders")
    assert run_id.startswith(("manual__", "scheduled__"))
    assert newest <= window_end <= published_at


def test_bi_may_read_gold_alone(stack: Stack, first_run: str) -> None:
    allowed = "has_schema_privilege('{}', 'usage')"
    [row] = stack.gold(f"select {', '.join(allowed.format(name) for name in ('gold', 'audit', 'staging'))}")
    assert row == (True, False, False)
    assert stack.gold("select has_table_privilege('gold.sales_by_day', 'insert')") == [(False,)]


def run_of(said: str) -> str:
    """The id of the run that a command spoke of."""
    [run_id] = re.findall(r"^Run (\S+):", said, re.MULTILINE)
    return str(run_id)


def test_long_window_is_captured_in_chunks_that_cover_it(stack: Stack, first_run: str) -> None:
    [(bounds,)] = stack.rows(
        "SOURCE_URL",
        "select percentile_disc(array[0.2, 0.3]) within group (order by updated_at at time zone 'UTC')"
        " from sales.orders",
    )
    start, end = map(str, bounds)
    said = stack.capture(
        "orders", kind="ranged", batch=stack.draw_batch(), chunk_rows=100, extract_from=start, extract_to=end
    )
    chunks = re.findall(r"captured from timestamp '(.+?) UTC' to timestamp '(.+?) UTC'", said)
    assert [chunks[0][0], *(to for _, to in chunks)] == [*(since for since, _ in chunks), end]
    assert chunks[0][0] == start
    in_hour = "select date_trunc('hour', updated_at), count(*) as rows from sales.orders group by 1"
    [(busiest,)] = stack.rows("SOURCE_URL", f"select max(rows) from ({in_hour}) as hours")
    counts = [
        stack.rows(
            "SOURCE_URL",
            f"select count(*) from sales.orders where updated_at >= '{since}Z' and updated_at < '{to}Z'",
        )[0][0]
        for since, to in chunks
    ]
    assert len(counts) > 2 and min(counts) > 0 and max(counts) < 100 + busiest


def test_hour_of_very_many_rows_is_captured_in_pieces(stack: Stack, first_run: str) -> None:
    """All sellers were written in one moment."""
    [(hour, rows)] = stack.rows(
        "SOURCE_URL",
        "select date_trunc('hour', updated_at at time zone 'UTC') as hour, count(*) from sales.sellers"
        " group by 1 order by 2 desc, 1 limit 1",
    )
    in_hour = (
        f"updated_at >= timestamptz '{hour}Z' and updated_at < timestamptz '{hour + timedelta(hours=1)}Z'"
    )
    in_bronze = in_hour.replace("timestamptz", "timestamp").replace("Z'", " UTC'")
    stack.lake(f"delete from bronze.sellers where {in_bronze}")
    said = stack.capture(
        "sellers", kind="ranged", batch=stack.draw_batch(), chunk_rows=rows // 4,
        extract_from=str(hour), extract_to=str(hour + timedelta(hours=1)),
    )  # fmt: skip
    assert re.search(r"captured from .* in [3-9] buckets", " ".join(said.split()))
    assert stack.lake(
        f"select distinct seller_id from bronze.sellers where {in_bronze} order by 1"
    ) == stack.rows(
        "SOURCE_URL", f'select distinct seller_id collate "C" from sales.sellers where {in_hour} order by 1'
    )


def test_source_is_asked_for_the_window_alone_by_a_role_with_limits(stack: Stack, first_run: str) -> None:
    stack.capture(
        "orders", kind="ranged", batch=stack.draw_batch(), chunk_rows=1_000_000,
        extract_from="2000-01-01 00:00:00", extract_to="2100-01-01 00:00:00",
    )  # fmt: skip
    models = stack.dbt.folder / "trino" / "run" / "medallion" / "models"
    sent = (models / "bronze" / "orders.sql").read_text()
    plan = "\n".join(line for (line,) in stack.lake(f"explain {sent}"))
    scans = re.findall(r"\[table = postgres:sales\.orders .*", plan)
    assert scans and all("constraint on [updated_at]" in scan for scan in scans), plan
    assert stack.rows(
        "SOURCE_URL", "select rolconnlimit, rolconfig from pg_roles where rolname = 'source_reader'"
    ) == [(20, ["default_transaction_read_only=on", "statement_timeout=15min"])]


def test_type_that_changed_at_the_source_is_widened_or_refused(stack: Stack, first_run: str) -> None:
    def at_source(statement: str, fails: bool = False) -> str:
        stack.rows("SOURCE_URL", statement)
        return stack.capture(
            "products", kind="ranged", batch=stack.draw_batch(), chunk_rows=1_000_000,
            extract_from="2000-01-01 00:00:00", extract_to="2100-01-01 00:00:00", fails=fails,
        )  # fmt: skip

    at_source(
        "alter table sales.products add column stars numeric(3,1), add column rank integer, add column since text"
    )
    at_source(
        "alter table sales.products alter column stars type numeric(6,1), alter column rank type bigint,"
        " alter column since type timestamp using null"
    )
    at_source(
        "update sales.products set stars = 12345.6, rank = 3000000000, since = '2018-01-05 22:00:00'"
        " where product_id = (select max(product_id) from sales.products)"
    )
    assert stack.lake("select stars, rank, since from bronze.products where stars is not null") == [
        (Decimal("12345.6"), 3_000_000_000, "2018-01-05 22:00:00")
    ]
    # Its third place would be lost.
    said = at_source("alter table sales.products alter column stars type numeric(8,3)", fails=True)
    assert "products.stars is decimal(8,3) at the source now, and decimal(6,1) in" in " ".join(said.split())
    # Its text would not be what it was: 1.25E1.
    said = at_source(
        "alter table sales.products alter column stars type numeric(6,1),"
        " alter column since type double precision using 12.5",
        fails=True,
    )
    assert "products.since is double at the source now, and varchar in" in " ".join(said.split())
    # Trino shows nothing of such a column; it would be captured as null.
    said = at_source(
        "alter table sales.products drop column stars, drop column rank, drop column since;"
        "alter table sales.products rename column product_weight_g to weight;"
        "alter table sales.products add column product_weight_g numeric",
        fails=True,
    )
    assert "Trino shows no products.product_weight_g at the source" in " ".join(said.split())
    at_source(
        "alter table sales.products drop column product_weight_g;"
        "alter table sales.products rename column weight to product_weight_g"
    )


def assert_not_published(stack: Stack, said: str) -> None:
    """The run that a command spoke of has published nothing; the hourly one may have, meanwhile."""
    tries = f"select count(*) from audit.data_pipeline_runs where run_id = ''{run_of(said)}''"
    assert stack.audit(tries) == [(0,)]


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (["--from", "2018-01-01"], "window_end is missing"),
        (["--from", "2018-01-02", "--to", "2018-01-01"], "is not before window_end"),
    ],
)
def test_senseless_window_ends_the_run_at_once(
    stack: Stack, first_run: str, window: list[str], message: str
) -> None:
    said = stack.run("trigger", *window, status=1)
    assert message in said
    assert_not_published(stack, said)


def test_lost_column_stops_the_run_by_its_name_and_is_told(stack: Stack, first_run: str) -> None:
    stack.rows("SOURCE_URL", "alter table sales.orders rename column order_status to status")
    try:
        said = stack.run("trigger", status=1)
    finally:
        stack.rows("SOURCE_URL", "alter table sales.orders rename column status to order_status")
    assert "column sales.orders.order_status" in said
    assert_not_published(stack, said)
    told = (stack.settings.home / NOTIFICATIONS).read_text().splitlines()
    assert f"begin of {run_of(said)} failed" in told


def test_old_gold_is_told(stack: Stack, first_run: str) -> None:
    # A run of the schedule waited, as old as its hour, until the history was there.
    told = (stack.settings.home / NOTIFICATIONS).read_text()
    assert re.search(r"^deadline of scheduled__\S+ failed$", told, re.MULTILINE)


def test_empty_window_is_a_green_run_whatever_its_conf_holds(stack: Stack, first_run: str) -> None:
    totals = "select sum(sales), sum(items) from gold.sales_by_category_month"
    before = stack.gold(totals)
    [(published,)] = stack.gold("select window_end from gold.publication")
    # Names that the templates of tasks use: whoever may trigger a run could set them by its conf.
    sql = "x; drop table lake.bronze.orders; --"
    injected = {"name": sql, "key": [sql], "contract": {sql: sql}, "staging": sql, "batch": sql}
    conf = dict.fromkeys(
        ("table", "audited", "audited_by", "catalogs", "run", "tag", "env", "select"), injected
    )
    with AirflowApi(stack.settings) as airflow:
        run = airflow.trigger(DAG, conf | {"window_start": "2001-01-01", "window_end": "2001-01-02"})
        airflow.unpause(DAG)
        airflow.follow(DAG, run)
    sent = "select count(*) from system.runtime.queries where regexp_like(query, 'drop table lake.bronze.orders')"
    assert stack.lake(f"{sent} and query not like '%runtime.queries%'") == [(0,)]
    assert stack.gold(totals) == before
    # A window of the past does not make the data look old.
    [(published_then,)] = stack.gold("select window_end from gold.publication")
    assert published_then >= published


def test_every_dbt_test_passes_on_whole_tables_and_on_made_up_rows(stack: Stack, first_run: str) -> None:
    said = stack.run("dbt-test")
    assert re.search(r"fact_sales_shares_payments_by_price_and_freight .*PASS", said)


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
    said = stack.run("status")
    for service in ("postgres", "trino", "thrift", "api-server", "scheduler", "dag-processor", "triggerer"):
        assert re.search(rf"{service} +running +\d+", said), said


@pytest.mark.long
def test_rebuild_changes_nothing(stack: Stack, first_run: str) -> None:
    before = stack.published()
    stack.run("trigger", "--rebuild", "silver")
    assert stack.published() == before
    assert stack.audit("select rebuild from audit.pipeline") == [("none",)]
