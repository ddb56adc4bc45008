"""Shops of a few rows for the tests of the oracle."""

from collections.abc import Callable
from typing import Any

import pytest

from .entities import ENTITIES
from .model import Expected, empty_source

# For each table, a row that breaks no rule. A test gives only the values that differ from it.
ROWS: dict[str, dict[str, str]] = {
    "orders": {
        "order_id": "o1",
        "customer_id": "c1",
        "order_status": "delivered",
        "order_purchase_timestamp": "2018-01-10 12:00:00",
        "order_approved_at": "2018-01-10 13:00:00",
        "order_delivered_carrier_date": "2018-01-11 12:00:00",
        "order_delivered_customer_date": "2018-01-15 12:00:00",
        "order_estimated_delivery_date": "2018-01-20 00:00:00",
    },
    "order_items": {
        "order_id": "o1",
        "order_item_id": "1",
        "product_id": "p1",
        "seller_id": "s1",
        "shipping_limit_date": "2018-01-12 00:00:00",
        "price": "10.00",
        "freight_value": "0.00",
    },
    "order_payments": {
        "order_id": "o1",
        "payment_sequential": "1",
        "payment_type": "boleto",
        "payment_installments": "1",
        "payment_value": "10.00",
    },
    "order_reviews": {
        "review_id": "r1",
        "order_id": "o1",
        "review_score": "5",
        "review_creation_date": "2018-01-16 00:00:00",
        "review_answer_timestamp": "2018-01-17 00:00:00",
    },
    "customers": {
        "customer_id": "c1",
        "customer_unique_id": "u1",
        "customer_zip_code_prefix": "01310",
        "customer_city": "sao paulo",
        "customer_state": "SP",
    },
    "sellers": {
        "seller_id": "s1",
        "seller_zip_code_prefix": "20000",
        "seller_city": "rio de janeiro",
        "seller_state": "RJ",
    },
    "products": {"product_id": "p1", "product_category_name": "livros"},
    "product_category_name_translation": {
        "product_category_name": "livros",
        "product_category_name_english": "books",
    },
    "geolocation": {
        "geolocation_id": "1",
        "geolocation_zip_code_prefix": "01310",
        "geolocation_lat": "-23.5",
        "geolocation_lng": "-46.6",
        "geolocation_city": "sao paulo",
        "geolocation_state": "SP",
    },
}

Shop = Callable[..., Expected]


@pytest.fixture
def shop() -> Shop:
    """Return a function that builds a shop and computes the expected tables.

    Each keyword argument is a table: a list of rows, each with the values that differ from ROWS. Other tables are
    empty. Rows without `updated_at` have 2018-01-01.
    """

    def build(**tables: list[dict[str, Any]]) -> Expected:
        connection = empty_source()
        for entity, spec in ENTITIES.items():
            columns = [*spec.names, "updated_at"]
            types = ", ".join(f"{c} varchar" for c in spec.names)
            connection.execute(f"create table source.{entity} ({types}, updated_at timestamp)")
            for differences in tables.get(entity, []):
                row = {**ROWS[entity], "updated_at": "2018-01-01", **differences}
                connection.execute(
                    f"insert into source.{entity} values ({', '.join('?' * len(columns))})",
                    [row.get(column) for column in columns],
                )
        return Expected(connection)

    return build
