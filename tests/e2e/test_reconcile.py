"""Reconciliation: it finds rows that were deleted at the source, and changes whose `updated_at` no window covers.

The tests depend on one another, in the order of this file. The first ones run the bronze models without Airflow, by a
dbt command for each step. The others run the DAG while the shop's rows keep changing.
"""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import psycopg2
import pytest

from medallion.names import HOURLY_DAG, RECONCILE_DAG
from sample.shop import TABLES
from sample.trade import change
from stack.airflow_api import AirflowApi
from support.waiting import wait_until

from .conftest import Stack

# Tables that the tests without Airflow change and compare.
COMPARED = ("sellers", "order_items", "product_category_name_translation")
# A regular expression for a well-formed key. The generated shop has malformed keys, too.
ID = "^[0-9a-f]{32}$"
IS_DELETED = "max_by(_op, row(_changed_at, _batch, _op = 'delete', _hash)) = 'delete'"


@pytest.fixture(scope="module")
def paused(stack: Stack, first_run: str) -> None:
    """Pause the hourly DAG, so that no run of it disturbs the tests. The next `trigger` unpauses it."""
    with AirflowApi(stack.settings) as airflow:
        wait_until(lambda: not airflow.active(HOURLY_DAG))
        pause_hourly(airflow)


def pause_hourly(airflow: AirflowApi) -> None:
    airflow.call("PATCH", f"/api/v2/dags/{HOURLY_DAG}", {"is_paused": True})


def reconcile(
    stack: Stack, *tables: str, max_deleted_share: float = 0.2, fails: bool = False
) -> tuple[int, str]:
    """Reconcile tables as a run's tasks do, in several buckets and with a new batch.

    Returns the batch and dbt's output. `fails`: whether dbt must fail.
    """
    batch = stack.draw_batch()
    output = stack.run_bronze(
        *tables, kind="reconcile", batch=batch, chunk_rows=2_000,
        extract_from="2000-01-01 00:00:00", extract_to="2100-01-01 00:00:00",
        max_deleted_share=max_deleted_share, max_deleted_from=10, fails=fails,
    )  # fmt: skip
    return batch, output


def read_findings(stack: Stack, batch: int) -> dict[str, tuple[int, ...]]:
    """Return the counts that a reconciliation has recorded: table -> (missed, deleted, went_back, unmoved)."""
    rows = stack.query_audit(
        f"select table_name, missed, deleted, went_back, unmoved from audit.reconciliations where batch = {batch}"
    )
    return {table: tuple(figures) for table, *figures in rows}


def read_versions(stack: Stack, table: str, condition: str) -> list[tuple[Any, ...]]:
    """Return (_op, _batch) of versions in bronze, the oldest first; the last one decides."""
    return stack.query_trino(
        f"select _op, _batch from bronze.{table} where {condition} order by _changed_at, _batch"
    )


def test_each_kind_of_difference_is_found_and_fixed_once(stack: Stack, paused: None) -> None:
    [(seller,)] = stack.query_source(
        f"select seller_id from sales.sellers where seller_id ~ '{ID}'"
        " group by 1 having count(*) = 1 order by 1 limit 1",
    )
    stack.query_source("create table sales.backup as select * from sales.sellers where false")
    stack.query_source(
        f"with deleted as (delete from sales.sellers where seller_id = '{seller}' returning *)"
        " insert into sales.backup select * from deleted",
    )
    # Insert a row whose key is null, two rows with the same key, and two whose key has the text `null` instead of null.
    stack.query_source(
        "insert into sales.order_items (order_id, order_item_id, price, updated_at) values"
        " (null, null, '1', '2017-01-01Z'), (null, '99', '1', '2017-01-01Z'), (null, '99', '2', '2017-01-02Z'),"
        " ('null', '99', '1', '2017-01-01Z'), ('null', null, '1', '2017-01-01Z')",
    )
    # Change two rows but not their `updated_at`, as if the database had no trigger. Set that of three rows back.
    categories = (
        "select distinct product_category_name from sales.product_category_name_translation"
        " where product_category_name ~ '^[a-z_]+$' order by 1"
    )
    stack.query_source(
        "alter table sales.product_category_name_translation disable trigger user;"
        " update sales.product_category_name_translation set product_category_name_english = 'renamed'"
        f" where product_category_name in ({categories} limit 2);"
        " update sales.product_category_name_translation set updated_at = updated_at - interval '1 day'"
        f" where product_category_name in ({categories} offset 5 limit 3);"
        " alter table sales.product_category_name_translation enable trigger user",
    )
    batch, _ = reconcile(stack, *COMPARED)
    assert read_findings(stack, batch) == {
        "sellers": (0, 1, 0, 0),
        "order_items": (4, 0, 0, 0),
        "product_category_name_translation": (0, 0, 3, 2),
    }
    [upsert, delete] = read_versions(stack, "sellers", f"seller_id = '{seller}'")
    assert upsert[0] == "upsert" and delete == ("delete", batch)
    [(times,)] = stack.query_trino(
        f"select count(distinct _changed_at) from bronze.sellers where seller_id = '{seller}'"
    )
    assert times == 1
    # If two rows have the same key, only the newer one is compared and captured.
    assert stack.query_trino(
        "select price from bronze.order_items where order_id is null and order_item_id = '99'"
    ) == [("2",)]
    assert stack.query_trino(
        f"select count(*) from bronze.product_category_name_translation where _batch = {batch}"
    ) == [(5,)]
    keys = "select product_category_name from reconciled.product_category_name_translation"
    assert stack.query_trino(f"{keys} where _finding = 'went_back' order by 1") == stack.query_source(
        f"{categories} offset 5 limit 3"
    )

    again, _ = reconcile(stack, *COMPARED)
    assert read_findings(stack, again) == {
        "sellers": (0, 0, 0, 0),
        "order_items": (0, 0, 0, 0),
        "product_category_name_translation": (0, 0, 0, 0),
    }
    for table in COMPARED:
        assert stack.query_trino(f"select count(*) from bronze.{table} where _batch = {again}") == [(0,)]

    # Restore rows with their old `updated_at`. Their versions in bronze get the new batch, so that they decide again.
    stack.query_source("insert into sales.sellers select * from sales.backup; drop table sales.backup")
    stack.query_source(
        "delete from sales.order_items where order_item_id = '99'"
        " or order_item_id is null and (order_id is null or order_id = 'null')",
    )
    restored, _ = reconcile(stack, *COMPARED[:2])
    assert read_findings(stack, restored) == {
        "sellers": (0, 0, 0, 1),
        "order_items": (0, 4, 0, 0),
    }
    assert read_versions(stack, "sellers", f"seller_id = '{seller}'") == [
        ("delete", batch),
        ("upsert", restored),
    ]
    assert read_versions(stack, "order_items", "order_id is null and order_item_id is null") == [
        ("upsert", batch),
        ("delete", restored),
    ]

    stack.query_source(f"delete from sales.sellers where seller_id = '{seller}'")
    ended, _ = reconcile(stack, "sellers")
    assert read_findings(stack, ended) == {"sellers": (0, 1, 0, 0)}
    assert read_versions(stack, "sellers", f"seller_id = '{seller}'") == [
        ("upsert", restored),
        ("delete", ended),
    ]


def test_nothing_is_deleted_while_the_source_is_being_reloaded(stack: Stack, paused: None) -> None:
    [(rows,)] = stack.query_source(
        "select count(*) from (select distinct seller_id from sales.sellers) as keys"
    )
    stack.query_source("create table sales.backup as select * from sales.sellers; delete from sales.sellers")
    try:
        stopped, output = reconcile(stack, "sellers", fails=True)
        assert f"sellers: {rows} of {rows} rows are gone at the source, more than 20%" in output
        assert "MEDALLION_MAX_DELETED_SHARE" in output and "allow_deletes" in output
        assert stack.query_trino(f"select count(*) from bronze.sellers where _batch = {stopped}") == [(0,)]
        allowed, _ = reconcile(stack, "sellers", max_deleted_share=1)
        assert stack.query_trino(f"select count(*) from bronze.sellers where _batch = {allowed}") == [(rows,)]
    finally:
        stack.query_source("insert into sales.sellers select * from sales.backup; drop table sales.backup")


def test_time_that_no_window_reaches_is_captured_and_counted(stack: Stack, paused: None) -> None:
    stack.query_source(
        "insert into sales.sellers (seller_id, updated_at)"
        " values ('eternal', 'infinity'), ('ancient', '0001-12-31 23:06:32+00 BC')",
    )
    try:
        batch, _ = reconcile(stack, "sellers")
    finally:
        stack.query_source("delete from sales.sellers where seller_id in ('eternal', 'ancient')")
    assert stack.query_audit(
        f"select null_cursor, ahead from audit.reconciliations where batch = {batch}"
    ) == [(1, 1)]
    assert stack.query_trino(
        "select seller_id from bronze.sellers where seller_id in ('ancient', 'eternal')"
        f" and _batch = {batch} order by 1"
    ) == [("ancient",), ("eternal",)]
    reconcile(stack, "sellers")


@contextmanager
def keep_trading(stack: Stack) -> Iterator[None]:
    """Until the end of the block, change and delete rows of the shop. Reinsert rows unchanged, as a reload does."""
    stop = Event()

    def trade() -> None:
        with psycopg2.connect(stack.urls["SOURCE_URL"]) as connection, connection.cursor() as cursor:
            while not stop.wait(0.5):
                change(cursor, 5, deletes=True)
                for table in ("sellers", "products", "orders"):
                    cursor.execute(
                        f"with moved as (delete from sales.{table} where random() < 0.02 returning *)"
                        f" insert into sales.{table} select * from moved"
                    )
                connection.commit()

    with ThreadPoolExecutor() as pool:
        trader = pool.submit(trade)
        try:
            yield
        finally:
            stop.set()
        trader.result()


def test_no_live_row_is_deleted_while_the_shop_trades(stack: Stack, paused: None) -> None:
    """A triggered reconciliation deletes no row that is still at the source.

    The DAG's scheduled run started before the first publication, so it has skipped all tasks.
    """
    with keep_trading(stack), AirflowApi(stack.settings) as airflow:
        path = f"/api/v2/dags/{RECONCILE_DAG}/dagRuns?run_type=scheduled"
        [scheduled] = airflow.call("GET", path)["dag_runs"]
        assert scheduled["state"] == "success"
        tasks = airflow.tasks(RECONCILE_DAG, scheduled["dag_run_id"])
        assert {task["state"] for task in tasks} == {"skipped"}
        airflow.follow(RECONCILE_DAG, airflow.trigger(RECONCILE_DAG, {}))
    for table, key in TABLES.items():
        columns = ", ".join(key)
        deleted = f"select {columns} from bronze.{table} group by {columns} having {IS_DELETED}"
        assert stack.query_trino(f"{deleted} intersect select {columns} from postgres.sales.{table}") == [], (
            table
        )
    [(batch,)] = stack.query_audit("select max(batch) from audit.reconciliations")
    assert sum(deleted for _, deleted, *_ in read_findings(stack, batch).values()) > 0
    # Rows may have been deleted after the run had read them. Find them, because later tests compare gold with the
    # source.
    reconcile(stack, *TABLES)


@pytest.mark.long
def test_hourly_run_paused_during_a_reconciliation_publishes_its_findings(stack: Stack, paused: None) -> None:
    """Rows are deleted, rows change but keep an old `updated_at`, or it goes back: no window finds such changes.

    The hourly run is paused while it holds the lease. Meanwhile a reconciliation can still run. After it, the hourly
    run publishes the reconciliation's rows, too.
    """
    stack.run_sample("live", "--deletes", "--orders", "50")
    delivered = (
        f"select order_id from sales.orders where order_status = 'delivered' and order_id ~ '{ID}'"
        " group by 1 having max(updated_at) < now() - interval '1 day' and count(*) = 1 order by 1"
    )
    stack.query_source(
        "update sales.orders set order_status = 'canceled', updated_at = updated_at + interval '1 microsecond'"
        f" where order_id in ({delivered} limit 20)",
    )
    stack.query_source(
        "update sales.orders set updated_at = updated_at - interval '1 hour'"
        f" where order_id in ({delivered} limit 5)",
    )
    with AirflowApi(stack.settings) as airflow:
        hourly = airflow.trigger(HOURLY_DAG, {})
        airflow.unpause(HOURLY_DAG)
        attempts = (
            f"select * from audit.data_pipeline_runs where run_id = ''{hourly}'' and task_id like ''bronze.%''"
            " and status <> ''skipped''"
        )
        wait_until(lambda: stack.query_audit(attempts))
        pause_hourly(airflow)
    output = stack.run("reconcile")
    assert re.search(r"success .* tests\.trino", output)
    assert stack.query_audit("select lease_run_id from audit.pipeline") == [(None,)]
    [(missed, deleted, went_back)] = stack.query_audit(
        "select missed + unmoved, deleted, went_back from audit.reconciliations"
        " where table_name = ''orders'' order by batch desc limit 1"
    )
    assert missed >= 20 and deleted >= 5 and went_back == 5

    with AirflowApi(stack.settings) as airflow:
        airflow.unpause(HOURLY_DAG)
        airflow.follow(HOURLY_DAG, hourly)
    expected = stack.compute_expected()
    assert stack.find_differences(expected=expected) == {}
    for entity, key in TABLES.items():
        current = stack.query_trino(
            f"select {', '.join(key)} from silver.stg_{entity} where _state = 'current'"
        )
        positions = [expected.columns(entity).index(column) for column in key]
        assert {tuple(row[position] for position in positions) for row in expected.rows(entity)} == set(
            current
        ), entity
