"""What hourly windows can't see: rows that are gone at the source, and versions that came with an old `updated_at`.

The tests build on one another, in the order they stand here: first the mode of the bronze models by itself, one dbt
command a step, then the DAG, against a shop that keeps trading.
"""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import psycopg2
import pytest

from sample.shop import TABLES
from sample.trade import change
from stack.airflow_api import AirflowApi
from stack.pipeline import DAG, RECONCILE_DAG
from support.waiting import wait_until

from .conftest import Stack

# Of these the mode is tried by hand.
TRIED = ("sellers", "order_items", "product_category_name_translation")
# Keys as they should be: the generated shop has others, too.
ID = "^[0-9a-f]{32}$"
DELETE = "max_by(_op, row(updated_at, _batch, _op = 'delete', _hash)) = 'delete'"


def at_source(stack: Stack, statement: str) -> list[tuple[Any, ...]]:
    return stack.rows("SOURCE_URL", statement)


@pytest.fixture(scope="module")
def quiet(stack: Stack, first_run: str) -> None:
    """No hourly run comes between; the next `trigger` lets them run again."""
    with AirflowApi(stack.settings) as airflow:
        wait_until(lambda: not airflow.active(DAG))
        pause(airflow)


def pause(airflow: AirflowApi) -> None:
    airflow.call("PATCH", f"/api/v2/dags/{DAG}", {"is_paused": True})


def by_hand(
    stack: Stack, *tables: str, max_deleted_share: float = 0.2, fails: bool = False
) -> tuple[int, str]:
    """Reconcile tables as a run's tasks do, in several pieces, as a batch of its own; return it, and what dbt said."""
    batch = stack.draw_batch()
    said = stack.capture(
        *tables, kind="reconcile", batch=batch, chunk_rows=2_000,
        extract_from="2000-01-01 00:00:00", extract_to="2100-01-01 00:00:00",
        max_deleted_share=max_deleted_share, max_deleted_from=10, fails=fails,
    )  # fmt: skip
    return batch, said


def found(stack: Stack, batch: int) -> dict[str, tuple[int, int, int]]:
    """Table -> missed, deleted, went back, as the audit has it."""
    rows = stack.audit(
        f"select table_name, missed, deleted, went_back from audit.reconciliations where batch = {batch}"
    )
    return {table: tuple(figures) for table, *figures in rows}  # type: ignore[misc]


def versions(stack: Stack, table: str, condition: str) -> list[tuple[Any, ...]]:
    """(_op, _batch) of versions in bronze, in the order in which they came to decide."""
    return stack.lake(f"select _op, _batch from bronze.{table} where {condition} order by updated_at, _batch")


def test_each_kind_of_difference_is_found_and_mended_once(stack: Stack, quiet: None) -> None:
    [(seller,)] = at_source(
        stack,
        f"select seller_id from sales.sellers where seller_id ~ '{ID}'"
        " group by 1 having count(*) = 1 order by 1 limit 1",
    )
    at_source(stack, "create table sales.kept as select * from sales.sellers where false")
    at_source(
        stack,
        f"with gone as (delete from sales.sellers where seller_id = '{seller}' returning *)"
        " insert into sales.kept select * from gone",
    )
    # Rows that no key tells apart, two of one key, and keys that differ by how a null is written.
    at_source(
        stack,
        "insert into sales.order_items (order_id, order_item_id, price, updated_at) values"
        " (null, null, '1', '2017-01-01Z'), (null, '99', '1', '2017-01-01Z'), (null, '99', '2', '2017-01-02Z'),"
        " ('null', '99', '1', '2017-01-01Z'), ('null', null, '1', '2017-01-01Z')",
    )
    # Changed under the old time, as a database may whose trigger is off; and gone back.
    categories = (
        "select distinct product_category_name from sales.product_category_name_translation"
        " where product_category_name ~ '^[a-z_]+$' order by 1"
    )
    at_source(
        stack,
        "alter table sales.product_category_name_translation disable trigger user;"
        " update sales.product_category_name_translation set product_category_name_english = 'renamed'"
        f" where product_category_name in ({categories} limit 2);"
        " update sales.product_category_name_translation set updated_at = updated_at - interval '1 day'"
        f" where product_category_name in ({categories} offset 5 limit 3);"
        " alter table sales.product_category_name_translation enable trigger user",
    )
    batch, _ = by_hand(stack, *TRIED)
    assert found(stack, batch) == {
        "sellers": (0, 1, 0),
        "order_items": (4, 0, 0),
        "product_category_name_translation": (2, 0, 3),
    }
    [upsert, delete] = versions(stack, "sellers", f"seller_id = '{seller}'")
    assert upsert[0] == "upsert" and delete == ("delete", batch)
    [(ended,)] = stack.lake(
        f"select count(distinct updated_at) from bronze.sellers where seller_id = '{seller}'"
    )
    assert ended == 1
    # Only the winner of a key is looked at.
    assert stack.lake(
        "select price from bronze.order_items where order_id is null and order_item_id = '99'"
    ) == [("2",)]
    assert stack.lake(
        f"select count(*) from bronze.product_category_name_translation where _batch = {batch}"
    ) == [(2,)]
    keys = "select product_category_name from reconciled.product_category_name_translation"
    assert stack.lake(f"{keys} where _finding = 'went_back' order by 1") == at_source(
        stack, f"{categories} offset 5 limit 3"
    )

    again, _ = by_hand(stack, *TRIED)
    assert found(stack, again) == {
        "sellers": (0, 0, 0),
        "order_items": (0, 0, 0),
        "product_category_name_translation": (0, 0, 3),
    }
    for table in TRIED:
        assert stack.lake(f"select count(*) from bronze.{table} where _batch = {again}") == [(0,)]

    # What decided once, decides again when it is back, under the time it had: the same versions, stamped.
    at_source(stack, "insert into sales.sellers select * from sales.kept; drop table sales.kept")
    at_source(
        stack,
        "delete from sales.order_items where order_item_id = '99'"
        " or order_item_id is null and (order_id is null or order_id = 'null')",
    )
    restored, _ = by_hand(stack, *TRIED[:2])
    assert found(stack, restored) == {"sellers": (1, 0, 0), "order_items": (0, 4, 0)}
    assert versions(stack, "sellers", f"seller_id = '{seller}'") == [("delete", batch), ("upsert", restored)]
    assert versions(stack, "order_items", "order_id is null and order_item_id is null") == [
        ("upsert", batch),
        ("delete", restored),
    ]

    at_source(stack, f"delete from sales.sellers where seller_id = '{seller}'")
    gone, _ = by_hand(stack, "sellers")
    assert found(stack, gone) == {"sellers": (0, 1, 0)}
    assert versions(stack, "sellers", f"seller_id = '{seller}'") == [("upsert", restored), ("delete", gone)]


def test_source_caught_while_it_is_reloaded_ends_nothing(stack: Stack, quiet: None) -> None:
    [(rows,)] = at_source(
        stack, "select count(*) from (select distinct seller_id from sales.sellers) as keys"
    )
    at_source(stack, "create table sales.kept as select * from sales.sellers; delete from sales.sellers")
    try:
        stopped, said = by_hand(stack, "sellers", fails=True)
        assert f"sellers: {rows} of {rows} rows are gone at the source, more than 20%" in said
        assert "MEDALLION_MAX_DELETED_SHARE" in said and "allow_deletes" in said
        assert stack.lake(f"select count(*) from bronze.sellers where _batch = {stopped}") == [(0,)]
        allowed, _ = by_hand(stack, "sellers", max_deleted_share=1)
        assert stack.lake(f"select count(*) from bronze.sellers where _batch = {allowed}") == [(rows,)]
    finally:
        at_source(stack, "insert into sales.sellers select * from sales.kept; drop table sales.kept")


def test_time_that_no_window_reaches_stops_its_table_and_is_told(stack: Stack, quiet: None) -> None:
    at_source(
        stack,
        "insert into sales.sellers (seller_id, updated_at)"
        " values ('eternal', 'infinity'), ('ancient', '0001-12-31 23:06:32+00 BC')",
    )
    try:
        _, said = by_hand(stack, "sellers", fails=True)
    finally:
        at_source(stack, "delete from sales.sellers where seller_id in ('eternal', 'ancient')")
    assert "The source has 2 rows in sales.sellers whose updated_at is not within the years 1 to 9999" in said


@contextmanager
def trading(stack: Stack) -> Iterator[None]:
    """Meanwhile the shop trades and deletes, and rows are written anew under the time they had, as by a reload."""
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


def test_no_live_row_is_deleted_while_the_shop_trades(stack: Stack, quiet: None) -> None:
    """The run is the schedule's own, which Airflow makes as the DAG is unpaused."""
    with trading(stack), AirflowApi(stack.settings) as airflow:
        airflow.wait_dag(RECONCILE_DAG)
        airflow.unpause(RECONCILE_DAG)
        runs = wait_until(lambda: airflow.active(RECONCILE_DAG))
        airflow.follow(RECONCILE_DAG, runs[0]["dag_run_id"])
    assert runs[0]["run_type"] == "scheduled"
    for table, key in TABLES.items():
        columns = ", ".join(key)
        ended = f"select {columns} from bronze.{table} group by {columns} having {DELETE}"
        assert stack.lake(f"{ended} intersect select {columns} from postgres.sales.{table}") == [], table
    [(batch,)] = stack.audit("select max(batch) from audit.reconciliations")
    assert sum(deleted for _, deleted, _ in found(stack, batch).values()) > 0


def test_gold_is_the_source_again_by_an_hourly_run_that_was_paused_meanwhile(
    stack: Stack, quiet: None
) -> None:
    """Deletes and changes under an old time, none of which a window sees; and a time that went back.

    The hourly run was paused while it held the lease: it blocks nobody, and takes what came between along.
    """
    stack.sample("live", "--deletes", "--orders", "50")
    delivered = (
        f"select order_id from sales.orders where order_status = 'delivered' and order_id ~ '{ID}'"
        " group by 1 having max(updated_at) < now() - interval '1 day' and count(*) = 1 order by 1"
    )
    at_source(
        stack,
        "update sales.orders set order_status = 'canceled', updated_at = updated_at + interval '1 microsecond'"
        f" where order_id in ({delivered} limit 20)",
    )
    at_source(
        stack,
        "update sales.orders set updated_at = updated_at - interval '1 hour'"
        f" where order_id in ({delivered} limit 5)",
    )
    with AirflowApi(stack.settings) as airflow:
        hourly = airflow.trigger(DAG, {})
        airflow.unpause(DAG)
        tries = (
            f"select * from audit.data_pipeline_runs where run_id = ''{hourly}'' and task_id like ''bronze.%''"
            " and status <> ''skipped''"
        )
        wait_until(lambda: stack.audit(tries))
        pause(airflow)
    said = stack.run("reconcile")
    assert re.search(r"success .* tests\.spark", said)
    assert stack.audit("select lease_run_id from audit.pipeline") == [(None,)]
    [(missed, deleted, went_back)] = stack.audit(
        "select missed, deleted, went_back from audit.reconciliations"
        " where table_name = ''orders'' order by batch desc limit 1"
    )
    assert missed >= 20 and deleted >= 5 and went_back == 5

    with AirflowApi(stack.settings) as airflow:
        airflow.unpause(DAG)
        airflow.follow(DAG, hourly)
    expected = stack.expected()
    assert stack.differences(expected=expected) == {}
    for entity, key in TABLES.items():
        current = stack.lake(f"select {', '.join(key)} from silver.stg_{entity} where _state = 'current'")
        places = [expected.columns(entity).index(column) for column in key]
        assert {tuple(row[place] for place in places) for row in expected.rows(entity)} == set(current), (
            entity
        )
