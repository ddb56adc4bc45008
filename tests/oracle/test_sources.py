"""Reading the source from CSV files and from PostgreSQL, and checks of the oracle's tables for the Olist sample."""

from collections import defaultdict
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from support import olist

from .conftest import ROWS
from .entities import ENTITIES
from .model import GOLD, MODELS, Expected, expected_from_csv, expected_from_source


def csv_name(entity: str) -> str:
    return f"{entity}.csv" if entity.endswith("_translation") else f"olist_{entity}_dataset.csv"


def csv_columns(entity: str) -> list[str]:
    return [name for name in ENTITIES[entity].names if name != "geolocation_id"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the nine CSV files, each with one row."""
    for entity in ENTITIES:
        columns = csv_columns(entity)
        values = [ROWS[entity].get(column, "") for column in columns]
        (tmp_path / csv_name(entity)).write_text(f"{','.join(columns)}\n{','.join(values)}\n")
    return tmp_path


def add(path: Path, text: str) -> None:
    with path.open("a", newline="") as file:
        file.write(text)


def test_updated_at_of_csv_rows(folder: Path) -> None:
    add(folder / csv_name("order_items"), "no order,1,p1,s1,,1,1\n")
    add(folder / csv_name("orders"), "o0,c1,created,bad,,,,\n")
    expected = expected_from_csv(folder)
    times = {entity: [row[-1] for row in expected.rows(entity)] for entity in ENTITIES}
    purchase, day_before = datetime(2018, 1, 10, 12), datetime(2018, 1, 9, 12)
    assert times == {
        "orders": [datetime(2018, 1, 15, 12)],
        "order_items": [day_before, purchase],
        "order_payments": [purchase],
        "order_reviews": [datetime(2018, 1, 17)],
        **{entity: [day_before] for entity in list(ENTITIES)[4:]},
    }


def test_quirks_of_csv(folder: Path) -> None:
    translation = folder / csv_name("product_category_name_translation")
    translation.write_text("\ufeff" + translation.read_text())
    add(folder / csv_name("order_reviews"), 'r2,o1,5,"a ""b"", c","line 1\r\nline 2, \\n\n",,\n')
    add(folder / csv_name("sellers"), ',1,x,SP\n"",1,x,SP\n')
    expected = expected_from_csv(folder)
    assert expected.rows("product_category_name_translation")[0][:2] == ("livros", "books")
    assert expected.rows("order_reviews")[1][3:5] == ('a "b", c', "line 1\r\nline 2, \\n")
    assert [key for _, key, _ in expected.quarantine()] == ['[""]', "[null]"]


def load(dsn: str, folder: Path) -> None:
    """Create the tables of the shop's schema `sales`, and load CSV files into them."""
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("drop schema if exists sales cascade; create schema sales")
        for entity in ENTITIES:
            columns = csv_columns(entity)
            definitions = [f"{column} text" for column in columns]
            if entity == "geolocation":
                definitions.insert(0, "geolocation_id bigint generated always as identity")
            cursor.execute(
                f"create table sales.{entity} ({', '.join(definitions)}, "
                "updated_at timestamptz not null default '2018-01-01 00:00:00.123456+00')"
            )
            with (folder / csv_name(entity)).open(encoding="utf-8-sig", newline="") as file:
                file.readline()
                target = f"sales.{entity} ({', '.join(columns)})"
                cursor.copy_expert(f"copy {target} from stdin (format csv)", file)


def test_source_keeps_every_value(folder: Path, postgres_dsn: str) -> None:
    load(postgres_dsn, folder)
    texts = ["", " \u00a0é", 'a "b", c', "line 1\r\nline 2\n\\N", "\\.", "\r", "','"]
    with closing(psycopg2.connect(postgres_dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("set time zone 'America/Sao_Paulo'")
        for n, text in enumerate(texts):
            cursor.execute(
                "insert into sales.order_reviews values "
                "(%s, 'o1', '5', %s, null, null, null, '2018-06-01 00:00:00.5')",
                (f"odd {n}", text),
            )
        cursor.execute("insert into sales.sellers values (null, '', '', 'SP'), ('', '', '', 'SP')")
    expected = expected_from_source(postgres_dsn)
    odd = [row for row in expected.rows("order_reviews") if row[0].startswith("odd")]
    assert [row[3] for row in odd] == [None, "é", 'a "b", c', "line 1\r\nline 2\n\\N", "\\.", None, "','"]
    assert {row[-1] for row in odd} == {datetime(2018, 6, 1, 3, 0, 0, 500000)}
    assert expected.rows("orders")[0][-1] == datetime(2018, 1, 1, 0, 0, 0, 123456)
    assert [key for _, key, _ in expected.quarantine()] == ['[""]', "[null]"]


@pytest.fixture(scope="module")
def sample() -> Expected:
    """The expected tables for the Olist sample."""
    return expected_from_csv(olist.FOLDER)


@olist.needs_olist
def test_both_ways_agree(sample: Expected, postgres_dsn: str) -> None:
    load(postgres_dsn, olist.FOLDER)
    from_source = expected_from_source(postgres_dsn)
    for table in (*MODELS, *GOLD):
        assert sample.diff(table, from_source.rows(table)) == ""
    assert sample.quarantine() == from_source.quarantine()
    assert sample.flags() == from_source.flags()
    assert from_source.ambiguous_keys() == []


def column(expected: Expected, table: str, name: str) -> list[Any]:
    index = expected.columns(table).index(name)
    return [row[index] for row in expected.rows(table)]


@olist.needs_olist
def test_sample_rows(sample: Expected) -> None:
    counts = {entity: len(sample.rows(entity)) for entity in ENTITIES}
    assert counts == {**olist.ROWS, "geolocation": olist.ROWS["geolocation"] - 2}
    assert len(sample.quarantine()) == 2
    assert sample.ambiguous_keys() == []
    flags = [flag for _, _, flag in sample.flags()]
    assert flags.count("carrier_before_purchase") == flags.count("delivered_before_carrier") == 3
    orders, with_items = (set(column(sample, table, "order_id")) for table in ("orders", "order_items"))
    assert len(orders - with_items) == 775


@olist.needs_olist
def test_shares_of_each_order_add_up_to_its_payments(sample: Expected) -> None:
    paid: dict[str, Decimal] = defaultdict(Decimal)
    for row in sample.rows("order_payments"):
        paid[row[0]] += row[4]
    shared: dict[str, Decimal] = defaultdict(Decimal)
    for row in sample.rows("fact_sales"):
        shared[row[0]] += row[-1]
    assert shared == {order: paid[order] for order in shared}


@olist.needs_olist
def test_gold_tables_agree_with_each_other(sample: Expected) -> None:
    def total(table: str, name: str) -> Any:
        return sum(column(sample, table, name))

    assert total("sales_by_day", "payments") == total("sales_by_category_month", "sales")
    assert total("sales_by_day", "payments") == total("customer_analytics", "total_spent")
    assert total("sales_by_day", "item_revenue") == total("product_analytics", "revenue")
    assert total("sales_by_day", "item_revenue") == total("seller_analytics", "revenue")
    assert total("sales_by_day", "orders") == total("customer_analytics", "orders")
    assert total("sales_by_day", "items") == total("product_analytics", "units")
    assert total("delivery_by_state_month", "late_orders") > 0


@olist.needs_olist
@pytest.mark.parametrize("table", [*ENTITIES, *MODELS, *GOLD])
def test_keys_are_unique(sample: Expected, table: str) -> None:
    assert sample.rows(table)
    assert sample.diff(table, sample.rows(table)) == ""
