"""The oracle's facts, dimensions and gold tables for small shops. The expected values are computed by hand."""

from datetime import date, datetime
from decimal import Decimal as D
from typing import Any

import pytest

from .conftest import Shop


def items(*amounts: tuple[int, str, str]) -> list[dict[str, str]]:
    """Return items of the order o1. Each argument is an item: its number, price and freight."""
    return [
        {"order_item_id": str(n), "price": price, "freight_value": freight} for n, price, freight in amounts
    ]


@pytest.mark.parametrize(
    ("amounts", "payments", "shares"),
    [
        # in cents: each gets 10000 * 1000 / 3000 = 3333.3, rounded down; one cent remains
        ([(1, "10", "0"), (2, "8", "2"), (3, "0", "10")], ["100"], ["33.33", "33.33", "33.34"]),
        # in cents: 5 * 100 / 300 = 1.7 and 5 * 200 / 300 = 3.3, rounded down; one cent remains
        ([(1, "1", "0"), (2, "2", "0")], ["0.02", "0.03"], ["0.01", "0.04"]),
        # the remaining cent goes to the highest number, 10, although "2" is higher as text
        ([(2, "1", "0"), (10, "1", "0")], ["0.01"], ["0.00", "0.01"]),
        # the items cost nothing, so the shares are equal
        ([(1, "0", "0"), (2, "0", "0"), (3, "0", "0")], ["1.00"], ["0.33", "0.33", "0.34"]),
        ([(1, "0", "0"), (2, "5", "0")], ["7"], ["0.00", "7.00"]),
        ([(1, "10", "0"), (2, "10", "0")], [], ["0.00", "0.00"]),
        ([(1, "10", "0"), (2, "10", "0")], ["0"], ["0.00", "0.00"]),
        # the largest amounts: each gets (10^18 - 1) / 2 cents, rounded down; one cent remains
        (
            [(1, "4999999999999999.99", "0"), (2, "0", "4999999999999999.99")],
            ["9999999999999999.99"],
            ["4999999999999999.99", "5000000000000000.00"],
        ),
    ],
)
def test_shares(shop: Shop, amounts: Any, payments: list[str], shares: list[str]) -> None:
    expected = shop(
        orders=[{}],
        order_items=items(*amounts),
        order_payments=[
            {"payment_sequential": str(n), "payment_value": value} for n, value in enumerate(payments)
        ],
    )
    assert [row[-1] for row in expected.rows("fact_sales")] == [D(share) for share in shares]


def test_fact_holds_accepted_items_of_accepted_orders(shop: Shop) -> None:
    expected = shop(
        orders=[{"order_id": "o1"}, {"order_id": "bad", "order_status": "lost"}, {"order_id": "no items"}],
        order_items=[
            {"price": "30.00", "freight_value": "1.50"},
            {"order_item_id": "2", "price": "-1"},
            {"order_id": "bad"},
            {"order_id": "no order"},
        ],
        order_payments=[
            {"payment_value": "20.00"},
            {"payment_sequential": "2", "payment_value": "11.50"},
            {"payment_sequential": "3", "payment_type": "?", "payment_value": "99"},
            {"order_id": "no items"},
        ],
    )
    assert expected.rows("fact_sales") == [
        (
            "o1", 1, "p1", "s1", "c1", "delivered",
            datetime(2018, 1, 10, 12), datetime(2018, 1, 10, 13), datetime(2018, 1, 11, 12),
            datetime(2018, 1, 15, 12), datetime(2018, 1, 20),
            D("30.00"), D("1.50"), D("31.50"),
        )
    ]  # fmt: skip


def test_dimensions(shop: Shop) -> None:
    places = [
        ("-10", "-40", "Sao Paulo", "SP"),
        ("-11", "-41", "são paulo", None),
        ("-13", "-43", "osasco", "SP"),
        ("-20", "-50", None, "RJ"),
    ]
    names = ("geolocation_lat", "geolocation_lng", "geolocation_city", "geolocation_state")
    expected = shop(
        customers=[
            {"customer_id": "a", "customer_state": "RJ", "updated_at": "2018-02-01"},
            {"customer_id": "b", "customer_state": "SP", "updated_at": "2018-01-01"},
            {"customer_id": "c", "customer_unique_id": None},
        ],
        products=[
            {"product_length_cm": "2", "product_height_cm": "0.5", "product_width_cm": "3.03"},
            {"product_id": "p2", "product_category_name": "pecas", "product_length_cm": "1"},
            {"product_id": "p3", "product_category_name": None},
        ],
        product_category_name_translation=[{}],
        geolocation=[
            {"geolocation_id": str(n), **dict(zip(names, place, strict=True))}
            for n, place in enumerate(places)
        ],
    )
    assert expected.rows("dim_customers") == [("u1", "RJ", "sao paulo", "01310")]
    assert expected.rows("dim_products") == [
        ("p1", "livros", "books", None, D("2.00"), D("0.50"), D("3.03"), D("3.030000")),
        ("p2", "pecas", None, None, D("1.00"), None, None, None),
        ("p3", None, None, None, None, None, None, None),
    ]
    assert expected.rows("dim_sellers") == []
    # the medians are halfway between -11 and -13, and between -41 and -43
    assert expected.rows("dim_geolocation") == [("01310", -12.0, -42.0, "sao paulo", "SP")]


@pytest.fixture
def small_shop(shop: Shop) -> Any:
    """Five orders: two of u1, a late one of u2, a canceled one, and one without a customer."""
    return shop(
        orders=[
            # delivered after 5 days
            {"order_id": "o1", "customer_id": "c1"},
            # the same customer from another state, in the same second: delivered after 5 days
            {"order_id": "o2", "customer_id": "c2"},
            # delivered after 12 days, 1 second late
            {
                "order_id": "o3",
                "customer_id": "c3",
                "order_purchase_timestamp": "2018-01-08 00:00:01",
                "order_delivered_customer_date": "2018-01-20 00:00:01",
            },
            {"order_id": "o4", "customer_id": "c1", "order_status": "canceled"},
            # without a customer; delivered, but without a date
            {"order_id": "o5", "customer_id": "c9", "order_delivered_customer_date": None,
             "order_purchase_timestamp": "2018-02-01 00:00:00"},
        ],
        customers=[
            {"customer_id": "c1", "customer_state": "SP"},
            {"customer_id": "c2", "customer_state": "RJ"},
            {"customer_id": "c3", "customer_unique_id": "u2", "customer_state": "SP"},
        ],
        order_items=[
            {"order_id": "o1", "order_item_id": "1", "product_id": "p1", "price": "10.00"},
            {"order_id": "o1", "order_item_id": "2", "price": "10.00", "freight_value": "2.00"},
            {"order_id": "o1", "order_item_id": "3", "product_id": "p2", "seller_id": "s2", "price": "8.01"},
            {"order_id": "o2", "product_id": "p2", "seller_id": "s2", "price": "12.00"},
            {"order_id": "o3", "product_id": "p3", "price": "20.01"},
            {"order_id": "o4", "product_id": "p1", "price": "500.00"},
            {"order_id": "o5", "product_id": "p4", "seller_id": None, "price": "7.00"},
        ],
        order_payments=[
            {"order_id": "o1", "payment_value": "30.01"},
            {"order_id": "o2", "payment_value": "12.02"},
            {"order_id": "o3", "payment_value": "20.01"},
            {"order_id": "o4", "payment_value": "500.00"},
        ],
        products=[
            {"product_id": "p1"},
            {"product_id": "p2", "product_category_name": "livros"},
            {"product_id": "p3", "product_category_name": "pecas"},
        ],
        product_category_name_translation=[{}],
        sellers=[{"seller_id": "s1"}],
        order_reviews=[
            {"review_id": "r1", "order_id": "o1", "review_score": "4"},
            {"review_id": "r2", "order_id": "o1", "review_score": "1"},
            {"review_id": "r1", "order_id": "o2", "review_score": "2"},
            {"review_id": "r3", "order_id": "o2", "review_score": "9"},
            {"review_id": "r4", "order_id": "o4", "review_score": "1"},
        ],
    )  # fmt: skip


def test_sales_by_category_month(small_shop: Any) -> None:
    # The payment of o1 equals the sum of its items, 10.00, 12.00 and 8.01, so each item gets exactly its amount. Books
    # have 30.01 + 12.02 = 42.03 in two bills, 21.015 per bill.
    assert small_shop.rows("sales_by_category_month") == [
        (date(2018, 1, 1), "books", D("42.03"), 2, 4, D("21.02")),
        (date(2018, 1, 1), "pecas", D("20.01"), 1, 1, D("20.01")),
        (date(2018, 2, 1), "unknown", D("0.00"), 1, 1, D("0.00")),
    ]


def test_sales_by_day(small_shop: Any) -> None:
    assert small_shop.rows("sales_by_day") == [
        (date(2018, 1, 8), 1, 1, 1, D("20.01"), D("0.00"), D("20.01")),
        (date(2018, 1, 10), 2, 4, 1, D("40.01"), D("2.00"), D("42.03")),
        (date(2018, 2, 1), 1, 1, 0, D("7.00"), D("0.00"), D("0.00")),
    ]


def test_customer_analytics(small_shop: Any) -> None:
    at = datetime(2018, 1, 10, 12)
    first = datetime(2018, 1, 8, 0, 0, 1)
    assert small_shop.rows("customer_analytics") == [
        ("u1", "RJ", at, at, 2, 4, D("42.03"), D("21.02"), "repeat"),
        ("u2", "SP", first, first, 1, 1, D("20.01"), D("20.01"), "one-time"),
    ]


def test_product_analytics(small_shop: Any) -> None:
    # Review scores: p1 has those of o1 once, (4 + 1) / 2; p2 has those of o1 and o2, (4 + 1 + 2) / 3. The average price
    # of p2 is 20.01 / 2 = 10.005.
    assert small_shop.rows("product_analytics") == [
        ("p1", "books", 2, 1, D("20.00"), D("10.00"), D("2.50"), 2),
        ("p2", "books", 2, 2, D("20.01"), D("10.01"), D("2.33"), 1),
        ("p3", "pecas", 1, 1, D("20.01"), D("20.01"), None, 1),
        ("p4", "unknown", 1, 1, D("7.00"), D("7.00"), None, 1),
    ]


def test_seller_analytics(small_shop: Any) -> None:
    assert small_shop.rows("seller_analytics") == [
        ("s1", "RJ", 2, 3, D("40.01"), 2, 1, D("0.5000"), D("2.50")),
        ("s2", "unknown", 2, 2, D("20.01"), 2, 0, D("0.0000"), D("2.33")),
    ]


def test_delivery_by_state_month(small_shop: Any) -> None:
    # In SP the delivery of o1 took 5 days, and that of o3 took 12 days.
    assert small_shop.rows("delivery_by_state_month") == [
        ("RJ", date(2018, 1, 1), 1, D("5.00"), 0, D("0.0000")),
        ("SP", date(2018, 1, 1), 2, D("8.50"), 1, D("0.5000")),
    ]


def test_seller_without_delivered_orders(shop: Shop) -> None:
    expected = shop(orders=[{"order_status": "shipped"}], order_items=[{}])
    assert expected.rows("seller_analytics") == [("s1", "unknown", 1, 1, D("10.00"), 0, 0, None, None)]
    assert expected.rows("delivery_by_state_month") == []


def test_equal_revenues_are_ranked_by_product(shop: Shop) -> None:
    prices = {"b": "5.00", "a": "5.00", "Z": "5.00", "c": "9.00"}
    expected = shop(
        orders=[{}],
        order_items=[
            {"order_item_id": str(n), "product_id": product, "price": price}
            for n, (product, price) in enumerate(prices.items())
        ],
    )
    ranks = {row[0]: row[-1] for row in expected.rows("product_analytics")}
    assert ranks == {"c": 1, "Z": 2, "a": 3, "b": 4}


@pytest.mark.parametrize(
    ("orders", "segment"),
    [(1, "one-time"), (2, "repeat"), (3, "repeat"), (4, "loyal")],
)
def test_segments(shop: Shop, orders: int, segment: str) -> None:
    expected = shop(
        orders=[{"order_id": str(n)} for n in range(orders)],
        order_items=[{"order_id": str(n)} for n in range(orders)],
        customers=[{}],
    )
    (customer,) = expected.rows("customer_analytics")
    assert customer[4:] == (orders, orders, D("0.00"), D("0.00"), segment)


@pytest.mark.parametrize(
    ("delivered", "days"),
    [
        ("2018-01-10 12:07:12", "0.01"),  # 432 s = 0.005 days
        ("2018-01-10 12:07:11", "0.00"),
        ("2018-01-10 11:52:48", "-0.01"),
        ("2018-01-10 11:52:49", "0.00"),
    ],
)
def test_average_days_round_half_away_from_zero(shop: Shop, delivered: str, days: str) -> None:
    expected = shop(orders=[{"order_delivered_customer_date": delivered}])
    (row,) = expected.rows("delivery_by_state_month")
    assert row == ("unknown", date(2018, 1, 1), 1, D(days), 0, D("0.0000"))


def test_late_share_has_four_places(shop: Shop) -> None:
    orders: list[dict[str, str | None]] = [{"order_id": str(n)} for n in range(32)]
    orders[0]["order_delivered_customer_date"] = "2018-01-20 00:00:01"
    orders[1]["order_estimated_delivery_date"] = None
    # One order of 32 is late, a share of 0.03125.
    expected = shop(orders=orders, order_items=[{"order_id": order["order_id"]} for order in orders])
    assert expected.rows("delivery_by_state_month")[0][-2:] == (1, D("0.0313"))
    assert expected.rows("seller_analytics")[0][5:8] == (32, 1, D("0.0313"))
