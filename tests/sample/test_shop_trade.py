"""Trade in the shop: a burst of changes at once, and steady small changes."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

import pytest

from oracle import expected_from_source
from sample.anomalies import PARENTS
from support.postgres import Query, Server, query
from tests.sample.cli import ROOT, sample

STEPS = ["created", "approved", "invoiced", "processing", "shipped", "delivered"]


@pytest.fixture
def filled(shop: Query) -> Query:
    """A shop that is generated as of 2025-01-15, so that later changes can be recognized by their time."""
    assert sample("generate", "--orders", 2000, "--until", "2025-01-15").exit_code == 0
    return shop


def changed(shop: Query, table: str) -> int:
    """Return how many rows have changed since the shop was generated, and check that they changed just now."""
    ages = shop(f"select now() - updated_at < '1 minute' from sales.{table} where updated_at > '2025-01-15'")
    assert all(fresh for (fresh,) in ages)
    return len(ages)


def test_a_burst(filled: Query, server: Server) -> None:
    before: dict[str, str] = dict(filled("select order_id, order_status from sales.orders"))
    result = sample("live", "--orders", 30)
    assert result.exit_code == 0
    after: dict[str, str] = dict(filled("select order_id, order_status from sales.orders"))
    new = after.keys() - before.keys()
    moved = {order for order in before if after[order] != before[order]}
    assert len(new) == 30
    assert {after[order] for order in new} == {"created"}
    assert 0 < len(moved) <= 60
    for order in moved:
        assert after[order] in ("canceled", STEPS[STEPS.index(before[order]) + 1])
    assert changed(filled, "orders") == len(new) + len(moved)
    for table in ("order_items", "order_payments", "order_reviews", "customers", "products"):
        assert changed(filled, table) > 0
    assert changed(filled, "order_payments") == 30
    # The new rows break no rule, refer to rows that exist, and the payments equal the prices and freight.
    expected = expected_from_source(server.url("shop", "shop"))
    assert expected.quarantine() == []
    assert expected.flags() == []
    assert filled(
        "select count(*) from sales.order_items as i where not exists"
        " (select from sales.orders as o join sales.customers using (customer_id)"
        " where o.order_id = i.order_id)"
    ) == [(0,)]
    assert filled(
        "select sum(payment_value::numeric) = (select sum(price::numeric + freight_value::numeric)"
        " from sales.order_items where updated_at > '2025-01-15')"
        " from sales.order_payments where updated_at > '2025-01-15'"
    ) == [(True,)]


def test_a_change_of_existing_rows(filled: Query, server: Server) -> None:
    assert sample("change", "--orders", 40, "--sellers", 3).exit_code == 0
    assert (changed(filled, "orders"), changed(filled, "customers"), changed(filled, "sellers")) == (
        40,
        10,
        3,
    )
    assert changed(filled, "products") == 10
    bought = "select min(order_purchase_timestamp) > '2024-12-15' from sales.orders where updated_at > '2025-01-15'"
    assert filled(bought) == [(True,)]
    for table in ("order_items", "order_payments"):
        assert filled(
            f"select count(*) from sales.{table} join sales.orders using (order_id)"
            f" where ({table}.updated_at > '2025-01-15') <> (orders.updated_at > '2025-01-15')"
        ) == [(0,)]
    expected = expected_from_source(server.url("shop", "shop"))
    assert expected.quarantine() == []


def test_a_change_at_given_times(filled: Query) -> None:
    times = ("--since", "2025-01-20", "--until", "2025-01-21", "--days", 10_000)
    assert sample("change", "--orders", 100, *times).exit_code == 0
    assert filled(
        "select count(*), count(distinct updated_at) > 90, min(updated_at) >= '2025-01-20 UTC',"
        " max(updated_at) <= '2025-01-21 UTC' from sales.orders where updated_at > '2025-01-15'"
    ) == [(100, True, True, True)]


def test_bad_rows_are_not_copied(shop: Query, server: Server) -> None:
    assert sample("generate", "--orders", 2000, "--anomalies", "all").exit_code == 0
    # This order without a key is delivered now. Trade reviews such orders, but must not review this one.
    shop("insert into sales.orders (order_status) values ('delivered')")

    def bad() -> Counter[Any]:
        """Count the rejected rows, the flags and the references to missing rows."""
        expected = expected_from_source(server.url("shop", "shop"))
        orphans = {
            (table, column): shop(f"select count(*) from sales.{table} where {column} like 'nobody-%%'")[0][0]
            for table, column in PARENTS
        }
        return Counter(expected.quarantine()) + Counter(expected.flags()) + Counter(orphans)

    def without_a_key() -> list[Any]:
        """Return the rows with a missing or malformed key."""
        keys = (("orders", "order_id"), ("customers", "customer_id"), ("products", "product_id"))
        return [
            shop(f"select t::text from sales.{table} as t where {key} !~ '^\\w+$' is not false order by 1")
            for table, key in keys
        ]

    before = bad(), without_a_key()
    for _ in range(3):
        assert sample("live", "--orders", 4000).exit_code == 0
    # Trade may correct a bad row, for example a product's weight, but it adds no bad row.
    assert bad() <= before[0]
    assert without_a_key() == before[1]


def test_trade_goes_on_after_columns_were_changed(filled: Query) -> None:
    for table, column in {
        "customers": "customer_city",
        "orders": "order_status",
        "order_items": "seller_id",
        "order_payments": "payment_type",
        "order_reviews": "review_score",
    }.items():
        # Drop the column and add it again, so that it is the last column of the table.
        filled(f"alter table sales.{table} add column again text")
        filled(f"update sales.{table} set again = {column}")
        filled(f"alter table sales.{table} drop column {column}")
        filled(f"alter table sales.{table} rename column again to {column}")
    result = sample("live", "--orders", 30)
    assert result.exit_code == 0, result.output
    assert filled("select payment_type from sales.order_payments order by updated_at desc limit 1") == [
        ("credit_card",)
    ]


def test_deletes_only_on_request(filled: Query) -> None:
    def keys(table: str) -> set[tuple[Any, ...]]:
        return set(filled(f"select order_id from sales.{table}"))

    tables = ("orders", "order_items", "order_payments", "order_reviews")
    before = {table: keys(table) for table in tables}
    sample("live", "--orders", 20)
    assert all(before[table] <= keys(table) for table in tables)
    sample("live", "--orders", 20, "--deletes")
    gone = before["orders"] - keys("orders")
    assert gone
    for table in tables[1:]:
        assert not gone & keys(table)


def test_an_empty_shop_says_so(shop: Query) -> None:
    assert "Fill the shop first" in sample("live").output
    assert sample("schema").exit_code == 0
    result = sample("live")
    assert result.exit_code == 1
    assert "Fill it first" in result.output


@pytest.fixture
def trading(filled: Query) -> Iterator[subprocess.Popen[str]]:
    """A process that trades five times a second."""
    command = [sys.executable, "-m", "sample", "trade", "--every", "0.2"]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def wait_for_line(log: IO[str] | None, text: str) -> None:
    """Read the log until a line contains `text`. Fail the test if the log ends before."""
    assert log
    read = []
    for line in log:
        read.append(line)
        if text in line:
            return
    pytest.fail(f"no {text!r} in:\n{''.join(read)}")


def test_the_trickle_goes_on_through_a_restart_and_ends_on_request(
    trading: subprocess.Popen[str], server: Server
) -> None:
    wait_for_line(trading.stderr, "Trading")
    server.stop()
    try:
        wait_for_line(trading.stderr, "Retrying")
    finally:
        server.start()  # other tests use the server, too
    # Wait on the server, for at most a minute, for an order that is placed after the restart.
    query(
        server.url("shop", "shop"),
        "do $$ begin for try in 1..600 loop"
        " exit when exists (select from sales.orders where updated_at > pg_postmaster_start_time());"
        " perform pg_sleep(0.1); end loop; end $$",
    )
    assert query(
        server.url("shop", "shop"),
        "select count(*) > 0 from sales.orders where updated_at > pg_postmaster_start_time()",
    ) == [(True,)]
    trading.send_signal(signal.SIGTERM)
    wait_for_line(trading.stderr, "Stopped")
    assert trading.wait(timeout=20) == 0
