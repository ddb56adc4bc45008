"""The shop's schema: column types, the triggers that set `updated_at`, and the rights of the reader."""

from contextlib import closing
from datetime import UTC, datetime

import psycopg2
import pytest

from oracle import ENTITIES
from support.postgres import Query, Server, query
from tests.sample.cli import sample

LONG_AGO = datetime(2017, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def schema(shop: Query) -> None:
    """Create the schema twice, which must give the same as once."""
    for _ in range(2):
        assert sample("schema").exit_code == 0


def test_tables_are_text_without_keys_and_have_an_indexed_updated_at(shop: Query) -> None:
    columns = shop(
        "select table_name, column_name, data_type from information_schema.columns"
        " where table_schema = 'sales'"
    )
    assert {table for table, _, _ in columns} == set(ENTITIES)
    others = {(table, name, kind) for table, name, kind in columns if kind != "text"}
    times = {(table, "updated_at", "timestamp with time zone") for table in ENTITIES}
    assert others == times | {("geolocation", "geolocation_id", "bigint")}
    indexed = shop(
        "select tablename from pg_indexes where schemaname = 'sales' and indexdef like '%%(updated_at)'"
    )
    assert {table for (table,) in indexed} == set(ENTITIES)
    assert shop(
        "select count(*) from pg_constraint where connamespace = 'sales'::regnamespace and contype = 'p'"
    ) == [(0,)]


def test_an_insert_sets_updated_at_unless_it_is_given(shop: Query) -> None:
    shop("insert into sales.sellers (seller_id) values ('default')")
    shop(
        "insert into sales.sellers (seller_id, updated_at) values ('null', null), ('given', %s)", (LONG_AGO,)
    )
    ages: dict[str, bool] = dict(
        shop("select seller_id, now() - updated_at < interval '1 minute' from sales.sellers")
    )
    assert ages == {"default": True, "null": True, "given": False}
    assert shop("select updated_at from sales.sellers where seller_id = 'given'") == [(LONG_AGO,)]


def test_an_update_sets_updated_at_unless_it_is_given(shop: Query) -> None:
    shop("insert into sales.orders (order_id, updated_at) values ('a', %s), ('b', %s)", (LONG_AGO, LONG_AGO))
    shop("update sales.orders set order_status = 'shipped' where order_id = 'a'")
    given = datetime(2018, 5, 1, 12, 30, tzinfo=UTC)
    shop("update sales.orders set updated_at = %s where order_id = 'b'", (given,))
    rows = shop(
        "select order_id, now() - updated_at < interval '1 minute', updated_at from sales.orders order by 1"
    )
    assert [fresh for _, fresh, _ in rows] == [True, False]
    assert rows[1][2] == given


def test_a_row_does_not_go_back_if_transactions_overtake_one_another(server: Server, shop: Query) -> None:
    shop("insert into sales.orders (order_id, order_status) values ('a', 'created')")
    with closing(psycopg2.connect(server.url("shop", "shop"))) as early, early.cursor() as cursor:
        cursor.execute("select now()")
        [(overtaking,)] = shop("update sales.orders set order_status = 'approved' returning updated_at")
        cursor.execute("update sales.orders set order_status = 'shipped' returning updated_at, now()")
        [(last, began)] = cursor.fetchall()
    assert began < overtaking < last


def test_the_reader_reads_and_nothing_else(server: Server) -> None:
    url = server.url("source_reader", "shop")
    for table in ENTITIES:
        assert query(url, f"select count(*) from sales.{table}") == [(0,)]
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            query(url, f"delete from sales.{table}")
