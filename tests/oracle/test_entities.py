"""The oracle's rules: which rows are accepted, rejected and flagged, and which of several rows with one key decides."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from .conftest import Shop

NBSP = "\u00a0"
OLD, NEW = "2018-05-01", "2018-06-01"


@pytest.mark.parametrize(
    ("entity", "row", "rules"),
    [
        ("orders", {"order_id": NBSP}, ["order_id_missing"]),
        ("orders", {"order_status": "Delivered"}, ["order_status_invalid"]),
        ("orders", {"order_status": None}, ["order_status_missing"]),
        ("orders", {"order_purchase_timestamp": "2018-01-10"}, ["order_purchase_timestamp_unparsable"]),
        ("order_items", {"order_item_id": "one", "price": "-0.01", "freight_value": ""},
         ["freight_value_missing", "order_item_id_unparsable", "price_invalid"]),
        ("order_items", {"price": "1.999"}, ["price_unparsable"]),
        ("order_items", {"freight_value": "-1"}, ["freight_value_invalid"]),
        ("order_payments", {"payment_type": "pix"}, ["payment_type_invalid"]),
        ("order_payments", {"payment_value": "-5", "payment_sequential": "1.0"},
         ["payment_sequential_unparsable", "payment_value_invalid"]),
        ("order_reviews", {"review_score": "0"}, ["review_score_invalid"]),
        ("order_reviews", {"review_score": "6"}, ["review_score_invalid"]),
        ("order_reviews", {"review_score": "5.0"}, ["review_score_unparsable"]),
        ("order_reviews", {"review_id": None, "order_id": ""}, ["order_id_missing", "review_id_missing"]),
        ("customers", {"customer_state": "sp"}, ["customer_state_invalid"]),
        ("customers", {"customer_state": " "}, ["customer_state_missing"]),
        ("sellers", {"seller_state": "XX"}, ["seller_state_invalid"]),
        ("products", {"product_weight_g": "-1", "product_width_cm": "-0.5"},
         ["product_weight_g_invalid", "product_width_cm_invalid"]),
        ("product_category_name_translation", {"product_category_name": ""},
         ["product_category_name_missing"]),
        ("geolocation", {"geolocation_lat": "5.29", "geolocation_lng": "-74"},
         ["geolocation_lat_invalid", "geolocation_lng_invalid"]),
        ("geolocation", {"geolocation_zip_code_prefix": "", "geolocation_lat": "x"},
         ["geolocation_lat_unparsable", "geolocation_zip_code_prefix_missing"]),
    ],
)  # fmt: skip
def test_rejected(shop: Shop, entity: str, row: dict[str, Any], rules: list[str]) -> None:
    expected = shop(**{entity: [row]})
    assert expected.rows(entity) == []
    assert [(name, list(broken)) for name, _, broken in expected.quarantine()] == [(entity, rules)]
    assert expected.flags() == []


@pytest.mark.parametrize(
    ("entity", "row"),
    [
        ("orders", {"customer_id": None}),
        ("order_items", {"price": "0", "freight_value": "-0.00", "product_id": None, "order_id": "o9"}),
        ("order_payments", {"payment_value": "0", "payment_type": "not_defined"}),
        ("order_reviews", {"review_score": "01"}),
        ("customers", {"customer_state": f"{NBSP}TO ", "customer_unique_id": None}),
        ("products", {"product_category_name": None, "product_weight_g": "0"}),
        ("geolocation", {"geolocation_lat": "5.28", "geolocation_lng": "-73.99", "geolocation_state": "sp"}),
        ("geolocation", {"geolocation_lat": "-33.76", "geolocation_lng": "-34.79"}),
    ],
)
def test_accepted(shop: Shop, entity: str, row: dict[str, Any]) -> None:
    expected = shop(**{entity: [row]})
    assert len(expected.rows(entity)) == 1
    assert expected.quarantine() == []
    assert expected.flags() == []


@pytest.mark.parametrize(
    ("entity", "row", "flags"),
    [
        ("orders", {"order_delivered_customer_date": None}, ["delivered_without_date"]),
        ("orders", {"order_delivered_customer_date": "soon"},
         ["delivered_without_date", "unparsable_order_delivered_customer_date"]),
        ("orders", {"order_status": "shipped", "order_delivered_customer_date": ""}, []),
        ("orders", {"order_delivered_carrier_date": "2018-01-10 11:59:59"}, ["carrier_before_purchase"]),
        ("orders", {"order_delivered_carrier_date": "2018-01-10 12:00:00"}, []),
        ("orders", {"order_delivered_customer_date": "2018-01-11 11:59:59"}, ["delivered_before_carrier"]),
        ("orders", {"order_approved_at": "2018-01-09 12:00:00"}, ["approved_before_purchase"]),
        ("order_items", {"shipping_limit_date": "x"}, ["unparsable_shipping_limit_date"]),
        ("order_payments", {"payment_installments": "two"}, ["unparsable_payment_installments"]),
        ("products", {"product_photos_qty": "1.5", "product_height_cm": "tall"},
         ["unparsable_product_height_cm", "unparsable_product_photos_qty"]),
    ],
)  # fmt: skip
def test_flags(shop: Shop, entity: str, row: dict[str, Any], flags: list[str]) -> None:
    expected = shop(**{entity: [row]})
    assert len(expected.rows(entity)) == 1
    assert [flag for _, _, flag in expected.flags()] == flags


def test_typed_row(shop: Shop) -> None:
    item = {"order_id": f" o1{NBSP}", "order_item_id": "01", "shipping_limit_date": "?", "price": "9.9"}
    assert shop(order_items=[item]).rows("order_items") == [
        ("o1", 1, "p1", "s1", None, Decimal("9.90"), Decimal("0.00"), datetime(2018, 1, 1))
    ]
    customer = {"customer_zip_code_prefix": "1310", "customer_city": "SÃO  Paulo"}
    assert shop(customers=[customer]).rows("customers") == [
        ("c1", "u1", "01310", "sao paulo", "SP", datetime(2018, 1, 1))
    ]


def test_the_newest_row_wins(shop: Shop) -> None:
    expected = shop(
        customers=[
            {"customer_id": "a", "customer_state": "SP", "updated_at": OLD},
            {"customer_id": "a", "customer_state": "RJ", "updated_at": NEW},
            {"customer_id": "b", "customer_state": "SP", "updated_at": OLD},
            {"customer_id": "b", "customer_state": "??", "updated_at": NEW},
            {"customer_id": "c", "customer_state": "??", "updated_at": OLD},
            {"customer_id": "c", "customer_state": "MG", "updated_at": NEW},
        ]
    )
    assert [(row[0], row[4]) for row in expected.rows("customers")] == [("a", "RJ"), ("c", "MG")]
    assert expected.quarantine() == [("customers", '["b"]', ("customer_state_invalid",))]
    assert expected.ambiguous_keys() == []


def test_spellings_of_a_key_compete(shop: Shop) -> None:
    expected = shop(
        order_items=[
            {"order_item_id": "1", "price": "1.00", "updated_at": OLD},
            {"order_item_id": " 01", "price": "2.00", "updated_at": NEW},
            {"order_item_id": "2", "price": "1.00", "updated_at": OLD},
            {"order_item_id": "02", "price": "free", "updated_at": NEW},
        ]
    )
    assert [row[1:6:4] for row in expected.rows("order_items")] == [(1, Decimal("2.00"))]
    assert expected.quarantine() == [("order_items", '["o1","02"]', ("price_unparsable",))]


def test_rows_without_a_key_stand_each_for_itself(shop: Shop) -> None:
    expected = shop(
        sellers=[
            {"seller_id": None, "seller_city": "a", "updated_at": OLD},
            {"seller_id": None, "seller_city": "b", "updated_at": NEW},
            {"seller_id": "", "seller_city": "b", "updated_at": NEW},
        ]
    )
    rules = ("seller_id_missing",)
    assert sorted(expected.quarantine()) == [
        ("sellers", '[""]', rules),
        ("sellers", "[null]", rules),
        ("sellers", "[null]", rules),
    ]
    assert expected.ambiguous_keys() == []


def test_a_tie_of_different_rows_is_ambiguous(shop: Shop) -> None:
    expected = shop(
        products=[
            {"product_id": "same"},
            {"product_id": "same"},
            {"product_id": "tie", "product_category_name": "a"},
            {"product_id": "tie", "product_category_name": "b"},
            {"product_id": "settled", "product_category_name": "a"},
            {"product_id": "settled", "product_category_name": "b"},
            {"product_id": "settled", "product_category_name": "c", "updated_at": NEW},
        ]
    )
    assert expected.ambiguous_keys() == [("products", '["tie"]')]
    assert [row[0] for row in expected.rows("products")] == ["same", "settled", "tie"]
