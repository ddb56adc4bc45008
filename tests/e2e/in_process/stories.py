"""Stories: sequences of changes in a small shop. Whatever happens in them, the layers must converge.

A story is a generator. Between two of its steps, a test takes steps of other stories, and runs the pipeline. Every row
gets its time from the shop's clock, which the test moves, so that a test does the same each time.
"""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2

from sample.shop import TABLES, sql

Story = Callable[["Shop"], Iterator[None]]

OPENING = datetime(2026, 1, 5, tzinfo=UTC)
PURCHASED = "2026-01-04 10:00:00"
CUSTOMERS = ("anna", "bruno", "clara")
PRODUCTS = ("lamp", "chair", "book")
SELLERS = ("north", "south")


class Shop:
    """The tables of the schema `sales`, and the clock (UTC) that gives their rows their `updated_at`."""

    def __init__(self, url: str, rng: random.Random) -> None:
        """Empty the shop at `url` and fill it with customers, sellers and products."""
        self.url = url
        self.rng = rng
        self.clock = OPENING
        self.covered = OPENING  # end of the last run's window
        self.execute(sql("schema.sql"))
        self.execute(f"truncate {', '.join(f'sales.{table}' for table in TABLES)} restart identity")
        for name in CUSTOMERS:
            self.put(
                "customers",
                name,
                customer_unique_id=f"{name}!",
                customer_state="SP",
                customer_city="Sao Paulo",
            )
        for name in SELLERS:
            self.put("sellers", name, seller_state="RJ", seller_city="rio", seller_zip_code_prefix="1")
        for name in PRODUCTS:
            self.put("products", name, product_category_name="casa", product_weight_g="10")
        self.put("product_category_name_translation", "casa", product_category_name_english="home")
        for number in ("1", "2"):
            self.put("geolocation", number, geolocation_zip_code_prefix="00001", geolocation_lat=f"-{number}.5",
                     geolocation_lng="-50.25", geolocation_city="rio", geolocation_state="RJ")  # fmt: skip

    def execute(self, statement: str, values: Any = None) -> None:
        """Run a statement in a transaction of its own."""
        with psycopg2.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute(statement, values)

    def tick(self) -> None:
        """Move the clock by some minutes, or by more than an hour."""
        self.clock += timedelta(minutes=self.rng.choice([1, 7, 20, 50, 130]))

    def put(self, table: str, *key: str | None, at: datetime | None = None, **values: str | None) -> None:
        """Insert or update the row with the natural key. Its `updated_at` is the clock's time, or `at`.

        Columns that are not given keep their values.
        """
        names = dict(zip(TABLES[table], key, strict=True))
        has_key = " and ".join(f"{name} is not distinct from %({name})s" for name in names)
        # Delete and insert the row instead of updating it: after an update that does not change `updated_at`, a
        # trigger of the shop would set the current time.
        self.execute(
            f"""
            create temporary table written on commit drop as select * from sales.{table} where {has_key};
            delete from sales.{table} where {has_key};
            insert into written ({", ".join(names)})
            select {", ".join(f"%({name})s" for name in names)} where not exists (select from written);
            update written set {", ".join(f"{name} = %({name})s" for name in [*values, "updated_at"])};
            insert into sales.{table} overriding system value select * from written
            """,
            {**names, **values, "updated_at": at or self.clock},
        )

    def add(self, table: str, **values: str | None) -> None:
        """Insert a row, even if a row with its key exists."""
        columns = ", ".join([*values, "updated_at"])
        self.execute(
            f"insert into sales.{table} ({columns}) values ({', '.join(['%s'] * (len(values) + 1))})",
            [*values.values(), self.clock],
        )

    def delete(self, table: str, *key: str) -> None:
        """Delete the rows with the natural key."""
        names = dict(zip(TABLES[table], key, strict=True))
        self.execute(
            f"delete from sales.{table} where {' and '.join(f'{name} = %({name})s' for name in names)}", names
        )

    def put_order(
        self, name: str, customer: str = "anna", at: datetime | None = None, **values: str | None
    ) -> None:
        """Write an order that was delivered in time; `values` replace columns of it."""
        delivered = {
            "customer_id": customer, "order_status": "delivered", "order_purchase_timestamp": PURCHASED,
            "order_delivered_customer_date": "2026-01-05 22:00:00",
            "order_estimated_delivery_date": "2026-01-20 00:00:00",
        }  # fmt: skip
        self.put("orders", name, at=at, **{**delivered, **values})

    def put_item(
        self, order: str, number: str = "1", product: str = "lamp", price: str | None = "10.00"
    ) -> None:
        """Write an item."""
        seller = self.rng.choice(SELLERS)
        self.put(
            "order_items",
            order,
            number,
            product_id=product,
            seller_id=seller,
            price=price,
            freight_value="2.50",
        )

    def put_payment(
        self, order: str, value: str | None, number: str = "1", at: datetime | None = None
    ) -> None:
        """Write a payment."""
        self.put("order_payments", order, number, at=at, payment_type="boleto", payment_value=value)

    def put_review(self, order: str, score: str) -> None:
        """Write the order's review."""
        self.put("order_reviews", f"review of {order}", order, review_score=score)

    def sell(self, name: str, customer: str = "anna", product: str = "lamp") -> None:
        """Write an order with one item, and its payment."""
        self.put_order(name, customer)
        self.put_item(name, product=product)
        self.put_payment(name, "12.50")


def parts_arrive_in_any_order(shop: Shop) -> Iterator[None]:
    parts: list[Callable[[], None]] = [
        lambda: shop.put_order("parts", "dora"),
        lambda: shop.put_item("parts", "1", "sofa", "30.01"),
        lambda: shop.put_item("parts", "2", "lamp", "10.01"),
        lambda: shop.put_payment("parts", "20.00", "1"),
        lambda: shop.put_payment("parts", "25.03", "2"),
        lambda: shop.put("customers", "dora", customer_unique_id="dora!", customer_state="MG"),
        lambda: shop.put("products", "sofa", product_category_name="moveis"),
        lambda: shop.put("product_category_name_translation", "moveis", product_category_name_english="furniture"),
        lambda: shop.put_review("parts", "4"),
    ]  # fmt: skip
    shop.rng.shuffle(parts)
    for part in parts:
        part()
        yield


def product_changes_category(shop: Shop) -> Iterator[None]:
    shop.sell("category", product="chair")
    yield
    shop.put("products", "chair", product_category_name="jardim")
    yield
    shop.put("product_category_name_translation", "jardim", product_category_name_english="garden")
    yield
    shop.put("products", "chair", product_category_name=None)
    yield


def customer_changes_state(shop: Shop) -> Iterator[None]:
    shop.sell("state", "bruno")
    yield
    shop.put("customers", "bruno", customer_state="BA")
    yield
    shop.put("customers", "bruno", customer_unique_id="clara!")
    yield


def order_is_canceled_after_publication(shop: Shop) -> Iterator[None]:
    shop.sell("canceled", "clara", "book")
    yield
    shop.put("orders", "canceled", order_status="canceled", order_delivered_customer_date=None)
    yield


def item_moves_to_another_product(shop: Shop) -> Iterator[None]:
    shop.sell("moved", product="book")
    yield
    shop.put("order_items", "moved", "1", product_id="chair")
    yield


def row_turns_invalid_and_valid(shop: Shop) -> Iterator[None]:
    shop.sell("turned")
    yield
    shop.put("order_items", "turned", "1", price="a lot")
    shop.put_payment("turned", "-1")
    yield
    shop.put("order_items", "turned", "1", price="7.77")
    yield
    shop.put_payment("turned", "9.99")
    shop.put("orders", "turned", order_status="lost")
    yield
    shop.put("orders", "turned", order_status="shipped")
    yield


def two_changes_have_one_time(shop: Shop) -> Iterator[None]:
    shop.sell("twice")
    at = shop.clock
    yield
    shop.put("order_payments", "twice", "1", payment_value="50.00", at=at)
    yield
    shop.put("order_payments", "twice", "1", payment_value="12.50", at=at)
    yield


def order_is_committed_late(shop: Shop) -> Iterator[None]:
    shop.sell("late")
    sold = shop.clock
    yield
    # This time is within the lookback of the next run. It is not before the sale either, because windows do not
    # find a version with an earlier `updated_at` than its predecessor.
    at = max(sold, shop.covered - timedelta(minutes=10))
    shop.put("orders", "late", order_status="unavailable", at=at)
    yield


def purchase_date_is_corrected(shop: Shop) -> Iterator[None]:
    shop.sell("dated")
    yield
    shop.put("orders", "dated", order_purchase_timestamp="2025-11-30 23:59:59")
    yield
    shop.put("orders", "dated", order_purchase_timestamp="not yet known")
    yield
    shop.put("orders", "dated", order_purchase_timestamp="2025-12-01 00:00:00")
    yield


def keys_are_null(shop: Shop) -> Iterator[None]:
    for number in range(3):
        shop.add("order_items", order_id=None, order_item_id="1", price=f"{number}", freight_value="1")
        shop.add("customers", customer_id=None, customer_state="SP")
        shop.add("orders", order_id=" ", order_status="created", order_purchase_timestamp=PURCHASED)
        yield


def rows_are_duplicated(shop: Shop) -> Iterator[None]:
    shop.sell("double")
    for number in range(2):
        shop.add("order_items", order_id="double", order_item_id="1", product_id="lamp", seller_id="north",
                 price=f"{number}.00", freight_value="0")  # fmt: skip
        shop.tick()
        shop.add("order_items", order_id="double", order_item_id=" 01 ", product_id="book", seller_id="north",
                 price="5", freight_value="0")  # fmt: skip
        shop.tick()
        yield
    for _ in range(2):
        shop.add("products", product_id="lamp", product_category_name="casa", product_weight_g="11")
    yield


def rows_are_deleted(shop: Shop) -> Iterator[None]:
    shop.sell("deleted", "clara")
    shop.put_item("deleted", "2", "book", "5.00")
    yield
    shop.delete("order_items", "deleted", "2")
    yield
    shop.delete("order_payments", "deleted", "1")
    shop.delete("customers", "clara")
    yield
    shop.delete("orders", "deleted")
    yield


def order_is_deleted_and_restored(shop: Shop) -> Iterator[None]:
    shop.sell("restored")
    at = shop.clock
    yield
    shop.delete("orders", "restored")
    yield
    shop.put_order("restored", at=at)  # with its old time, as if restored from a backup
    yield


def payment_is_committed_very_late(shop: Shop) -> Iterator[None]:
    shop.sell("slow")
    sold = shop.clock
    yield
    # No later window reaches back by three hours. The time is not before the sale, however.
    shop.put_payment("slow", "3.00", at=max(sold, shop.covered - timedelta(hours=3)))
    yield


STORIES: tuple[Story, ...] = (
    parts_arrive_in_any_order,
    product_changes_category,
    customer_changes_state,
    order_is_canceled_after_publication,
    item_moves_to_another_product,
    row_turns_invalid_and_valid,
    two_changes_have_one_time,
    order_is_committed_late,
    purchase_date_is_corrected,
    keys_are_null,
    rows_are_duplicated,
    rows_are_deleted,
    order_is_deleted_and_restored,
    payment_is_committed_very_late,
)
