"""The loader of the shop, with small files, with every kind of bad input, and with the Olist sample."""

import csv
import os
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from oracle import ENTITIES, expected_from_csv, expected_from_source
from sample.shop import TABLES
from support import olist
from support.postgres import Query, Server
from tests.sample.cli import ROOT, sample

FILES = {
    "olist_geolocation_dataset.csv": (
        "geolocation_zip_code_prefix,geolocation_lat,geolocation_lng,geolocation_city,geolocation_state\n"
        "01012,-23.548945985189434,-46.63467113292871,sao paulo,SP\n"
        "01012,-23.548945985189434,-46.63467113292871,sao paulo,SP\n"
    ),
    "product_category_name_translation.csv": (
        "\ufeffproduct_category_name,product_category_name_english\nbebes,baby\n"
    ),
    "olist_products_dataset.csv": (
        "product_id,product_category_name,product_name_lenght,product_description_lenght,product_photos_qty,"
        "product_weight_g,product_length_cm,product_height_cm,product_width_cm\n"
        "p1,bebes,49,728,4,7150,50,19,45\np2,,,,,,,,\n"
    ),
    "olist_sellers_dataset.csv": (
        '"seller_state","seller_id","seller_zip_code_prefix","seller_city"\r\n"SP","s1","01026",""\r\n'
    ),
    "olist_customers_dataset.csv": (
        "customer_id,customer_unique_id,customer_zip_code_prefix,customer_city,customer_state\n"
        "c1,u1,35182,timoteo,MG\nc2,u1,35182,timoteo,MG\n"
    ),
    "olist_orders_dataset.csv": (
        "order_id,customer_id,order_status,order_purchase_timestamp,order_approved_at,"
        "order_delivered_carrier_date,order_delivered_customer_date,order_estimated_delivery_date\n"
        "o1,c1,delivered,2017-07-09 21:57:05,2017-07-09 22:10:13,2017-07-11 14:58:04,2017-07-26 10:57:55,"
        "2017-08-01 00:00:00\n"
        "o2,c2,shipped,2018-01-01 00:00:01,\u00a02018-01-02 03:04:05 ,2018-02-30 00:00:00,,"
        "2018-02-01 00:00:00\n"
        "o3,c2,created,soon,,,,\n"
        "o4,c2,created,2018-01-01 24:00:00,,2017-12-31T00:00:00,,\n"
        "o4,c2,created,2018-01-01 24:00:00,,2017-12-31T00:00:00,,\n"
        "o5,c2,delivered,2018-01-01 00:00:00,,,9999-12-31 23:59:59,\n"
    ),
    "olist_order_items_dataset.csv": (
        "order_id,order_item_id,product_id,seller_id,shipping_limit_date,price,freight_value\n"
        "o1,1,p1,s1,2017-08-17 12:15:10,99.9,27.65\no3,1,p1,s1,,1,1\nnone,1,p1,s1,,1,1\n"
    ),
    "olist_order_payments_dataset.csv": (
        "order_id,payment_sequential,payment_type,payment_installments,payment_value\no2,1,credit_card,2,128.45\n"
    ),
    "olist_order_reviews_dataset.csv": (
        "review_id,order_id,review_score,review_comment_title,review_comment_message,review_creation_date,"
        "review_answer_timestamp\n"
        'r1,o1,1,Ótimo ,"two\nlines, ""quoted""",2017-07-27 00:00:00,2017-07-29 04:10:37\n'
        "r2,o2,5,,,2018-01-18 00:00:00,\n"
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with small files of all nine tables."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    return tmp_path


def test_values_and_times(shop: Query, folder: Path) -> None:
    result = sample("load", folder)
    assert result.exit_code == 0, result.output
    assert "sales.orders" in result.output
    day_before = datetime(2017, 7, 8, 21, 57, 5, tzinfo=UTC)
    first, second = datetime(2017, 7, 9, 21, 57, 5, tzinfo=UTC), datetime(2018, 1, 1, 0, 0, 1, tzinfo=UTC)
    future = shop("select updated_at <= now() from sales.orders where order_id = 'o5'")
    assert future == [(True,)]  # the loader replaces the year 9999 by now, because no window would reach it
    assert shop("select order_id, updated_at from sales.orders where order_id <> 'o5'") == [
        ("o1", datetime(2017, 7, 26, 10, 57, 55, tzinfo=UTC)),
        ("o2", datetime(2018, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("o3", day_before),
        ("o4", day_before),
        ("o4", day_before),
    ]
    items = shop("select order_id, updated_at from sales.order_items")
    assert items == [("o1", first), ("o3", day_before), ("none", day_before)]
    assert shop("select payment_value, updated_at from sales.order_payments") == [("128.45", second)]
    assert shop(
        "select review_comment_title, review_comment_message, updated_at from sales.order_reviews"
    ) == [
        ("Ótimo ", 'two\nlines, "quoted"', datetime(2017, 7, 29, 4, 10, 37, tzinfo=UTC)),
        (None, None, day_before),
    ]
    assert shop("select * from sales.sellers") == [("s1", "01026", "", "SP", day_before)]
    assert shop("select * from sales.product_category_name_translation") == [("bebes", "baby", day_before)]
    assert shop("select product_id, product_category_name, updated_at from sales.products") == [
        ("p1", "bebes", day_before),
        ("p2", None, day_before),
    ]
    assert shop("select geolocation_id, geolocation_lat, updated_at from sales.geolocation") == [
        (1, "-23.548945985189434", day_before),
        (2, "-23.548945985189434", day_before),
    ]


def test_nothing_is_written_in_the_future(shop: Query, folder: Path) -> None:
    for name in (ORDERS, REVIEWS):
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(re.sub(r"201[78]-", "2999-", text), encoding="utf-8", newline="")
    assert sample("load", folder).exit_code == 0
    for table in TABLES:
        assert shop(f"select count(*) from sales.{table} where updated_at > now()") == [(0,)], table


def test_a_shop_whose_columns_were_changed_is_replaced(shop: Query, folder: Path) -> None:
    assert sample("load", folder).exit_code == 0
    shop("create table sales.notes (note text)")
    shop("create view sales.seen as select now() as updated_at")
    shop("alter table sales.orders add column channel text, drop column order_approved_at")
    shop("alter table sales.orders add column order_approved_at text")
    result = sample("load", folder, "--replace")
    assert result.exit_code == 0, result.output
    assert shop("select order_approved_at from sales.orders where order_id = 'o1'") == [
        ("2017-07-09 22:10:13",)
    ]


def test_a_filled_shop_is_replaced_only_on_request(shop: Query, folder: Path) -> None:
    assert sample("load", folder).exit_code == 0
    again = sample("load", folder)
    assert again.exit_code == 1
    assert "--replace" in again.output
    (folder / "olist_customers_dataset.csv").write_text(
        "customer_id,customer_unique_id,customer_zip_code_prefix,customer_city,customer_state\nc9,u9,1,x,SP\n"
    )
    assert sample("load", folder, "--replace").exit_code == 0
    assert shop("select customer_id from sales.customers") == [("c9",)]
    assert shop("select geolocation_id from sales.geolocation") == [(1,), (2,)]


def replaced(name: str, old: str, new: str) -> tuple[str, bytes]:
    """Return a file's name, and its content in which `new` replaces `old`."""
    assert old in FILES[name]
    return name, FILES[name].replace(old, new).encode()


PAYMENTS, REVIEWS, ORDERS = (
    f"olist_{table}_dataset.csv" for table in ("order_payments", "order_reviews", "orders")
)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        pytest.param((PAYMENTS, None), "lacks", id="missing file"),
        pytest.param((PAYMENTS, b""), "line 1: ", id="empty file"),
        pytest.param(replaced(PAYMENTS, ",payment_value", ""), "line 1: ", id="missing column"),
        pytest.param(replaced(PAYMENTS, "payment_value", "payment_values"), "line 1: ", id="misspelt column"),
        pytest.param(replaced(ORDERS, "o2,c2", "o2,c2,c2"), "line 3: ", id="too many values"),
        pytest.param(replaced(ORDERS, "o3,c2,", "o3,"), "line 4: ", id="too few values"),
        # The comment of the first review contains a line break, so the second review is in line 4.
        pytest.param(
            replaced(REVIEWS, "r2,o2,5,,,", "r2,o2,5,"), "line 4: ", id="after a newline in a value"
        ),
        # The missing closing quote is only noticed at the end of the file.
        pytest.param(replaced(REVIEWS, "r2,o2,5,,,", 'r2,o2,5,",,'), "line 5: ", id="quote never closed"),
        pytest.param((REVIEWS, FILES[REVIEWS].encode("latin-1")), "line 2: ", id="wrong encoding"),
        pytest.param((ORDERS, FILES[ORDERS].encode("utf-16")), "line 1: ", id="UTF-16"),
        pytest.param(replaced(ORDERS, "o3,c2", "o3,\0"), "line 4: ", id="zero byte"),
    ],
)
def test_bad_input_is_named_and_nothing_is_loaded(
    shop: Query, folder: Path, file: tuple[str, bytes | None], message: str
) -> None:
    assert sample("load", folder).exit_code == 0
    before = [shop(f"select * from sales.{table}") for table in ENTITIES]
    name, content = file
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    result = sample("load", folder, "--replace")
    assert result.exit_code == 1
    assert name in result.output
    assert message in result.output
    assert [shop(f"select * from sales.{table}") for table in ENTITIES] == before


def test_a_shop_that_is_not_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_URL", raising=False)
    assert "SOURCE_URL is not set" in sample("load", folder).output
    monkeypatch.setenv("SOURCE_URL", f"postgresql://shop@/shop?host={folder}")
    result = sample("load", folder)
    assert result.exit_code == 1
    assert "SOURCE_URL failed" in result.output
    monkeypatch.setenv("STACK_SOURCE_URL", "postgresql://me:secret@db/crm")
    result = sample("load", folder)
    assert result.exit_code == 1 and "the shop writes nothing there" in result.output
    assert "secret" not in result.output


@pytest.mark.parametrize(
    "url",
    [
        "postgresql//shop:secret@localhost/shop",
        "postgresql://shop:secret%zz@localhost/shop",
        # libpq reads a part of the password as the port, the host or the database.
        "postgresql://shop:secret/1@localhost/shop",
        "postgresql://shop:1@secret@localhost/shop",
        "postgresql://shop:1/secret@localhost/shop",
    ],
)
def test_a_malformed_address(url: str, folder: Path) -> None:
    for command in (["load", str(folder)], ["generate"], ["live"], ["trade"]):
        result = subprocess.run(
            [sys.executable, "-m", "sample", *command],
            cwd=ROOT, env={**os.environ, "SOURCE_URL": url}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert result.returncode == 1
        assert "SOURCE_URL is malformed" in result.stderr
        assert "Traceback" not in result.stderr
        assert "secret" not in result.stderr


@olist.needs_olist
def test_the_real_sample(shop: Query, server: Server) -> None:
    assert sample("load", olist.FOLDER).exit_code == 0
    counts = {table: shop(f"select count(*) from sales.{table}")[0][0] for table in ENTITIES}
    assert counts == olist.ROWS
    with (olist.FOLDER / REVIEWS).open(encoding="utf-8", newline="") as file:
        reviews = Counter(tuple(value or None for value in row) for row in list(csv.reader(file))[1:])
    columns = "review_id, order_id, review_score, review_comment_title, review_comment_message, "
    columns += "review_creation_date, review_answer_timestamp"
    assert Counter(shop(f"select {columns} from sales.order_reviews")) == reviews
    from_files, from_shop = expected_from_csv(olist.FOLDER), expected_from_source(server.url("shop", "shop"))
    assert {entity: from_files.diff(entity, from_shop.rows(entity)) for entity in ENTITIES} == dict.fromkeys(
        ENTITIES, ""
    )
