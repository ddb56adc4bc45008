"""The shop's staging models in Spark: the conversion of cities and zip codes, and every rule and flag."""

from collections.abc import Iterator
from typing import Any

import pytest
from pyspark.sql import SparkSession

from medallion.project.declarations import declarations
from medallion_spark.entity import Entity
from medallion_spark.versions import convert_and_validate, select_versions
from support.lake import bronze_frame, version
from support.spark_session import spark_session

NBSP, ZERO_WIDTH, ACUTE = "\u00a0", "\u200b", "\u0301"
ENTITIES = {name: Entity.from_json(declaration.json()) for name, declaration in declarations().items()}

ACCEPTED: dict[str, dict[str, Any]] = {
    "orders": {
        "order_id": "o1",
        "customer_id": "c1",
        "order_status": "delivered",
        "order_purchase_timestamp": "2018-01-01 10:00:00",
        "order_approved_at": "2018-01-01 10:00:00",
        "order_delivered_carrier_date": "2018-01-01 10:00:00",
        "order_delivered_customer_date": "2018-01-01 10:00:00",
        "order_estimated_delivery_date": "2017-01-01 00:00:00",
    },
    "order_items": {"order_id": "o1", "order_item_id": "1", "price": "0", "freight_value": "0.00"},
    "order_payments": {
        "order_id": "o1",
        "payment_sequential": "1",
        "payment_type": "boleto",
        "payment_value": "0",
    },
    "order_reviews": {"review_id": "r1", "order_id": "o1", "review_score": "1"},
    "customers": {"customer_id": "c1", "customer_state": "SP"},
    "sellers": {"seller_id": "s1", "seller_state": "TO"},
    "products": {"product_id": "p1", "product_weight_g": "0", "product_width_cm": "1.5"},
    "product_category_name_translation": {"product_category_name": "bebes"},
    "geolocation": {
        "geolocation_id": "1",
        "geolocation_zip_code_prefix": "1310",
        "geolocation_lat": "-33.76",
        "geolocation_lng": "-34.79",
    },
}

# Entity -> its cases: the columns in which a row differs from the accepted one, the rules it breaks, and its flags.
CASES: dict[str, list[tuple[dict[str, Any], list[str], list[str]]]] = {
    "orders": [
        ({}, [], []),
        ({"order_id": None}, ["order_id_missing"], []),
        ({"order_id": NBSP + ZERO_WIDTH}, ["order_id_missing"], []),
        ({"order_status": " delivered\n"}, [], []),
        ({"order_status": ""}, ["order_status_missing"], []),
        ({"order_status": "Delivered"}, ["order_status_invalid"], []),
        ({"order_status": "paid", "order_purchase_timestamp": None},
         ["order_purchase_timestamp_missing", "order_status_invalid"], []),
        ({"order_purchase_timestamp": "2018-02-30 10:00:00"}, ["order_purchase_timestamp_unparsable"], []),
        ({"order_delivered_customer_date": None}, [], ["delivered_without_date"]),
        ({"order_delivered_customer_date": None, "order_status": "shipped"}, [], []),
        ({"order_delivered_customer_date": "soon", "order_status": "shipped"}, [],
         ["unparsable_order_delivered_customer_date"]),
        ({"order_delivered_customer_date": "soon"}, [],
         ["unparsable_order_delivered_customer_date", "delivered_without_date"]),
        ({"order_delivered_carrier_date": "2018-01-01 09:59:59"}, [], ["carrier_before_purchase"]),
        ({"order_delivered_carrier_date": "2018-01-01 10:00:01"}, [], ["delivered_before_carrier"]),
        ({"order_approved_at": "2018-01-01 09:59:59"}, [], ["approved_before_purchase"]),
        ({"order_approved_at": None, "order_delivered_carrier_date": " "}, [], []),
        ({"order_estimated_delivery_date": "0000-01-01 00:00:00"}, [], ["unparsable_order_estimated_delivery_date"]),
        ({"customer_id": None}, [], []),
    ],
    "order_items": [
        ({}, [], []),
        ({"order_id": "", "order_item_id": None}, ["order_id_missing", "order_item_id_missing"], []),
        ({"order_item_id": "1.0"}, ["order_item_id_unparsable"], []),
        ({"price": None}, ["price_missing"], []),
        ({"price": "1,50"}, ["price_unparsable"], []),
        ({"price": "-0.01"}, ["price_invalid"], []),
        ({"freight_value": " "}, ["freight_value_missing"], []),
        ({"freight_value": "9" * 17}, ["freight_value_unparsable"], []),
        ({"freight_value": "-1", "price": "-1"}, ["freight_value_invalid", "price_invalid"], []),
        ({"shipping_limit_date": "2018-01-01"}, [], ["unparsable_shipping_limit_date"]),
        ({"product_id": None, "seller_id": None}, [], []),
    ],
    "order_payments": [
        ({}, [], []),
        *(({"payment_type": kind}, [], []) for kind in ("credit_card", "voucher", "debit_card", "not_defined")),
        ({"payment_type": "Boleto"}, ["payment_type_invalid"], []),
        ({"payment_type": None}, ["payment_type_missing"], []),
        ({"payment_value": "-0.01"}, ["payment_value_invalid"], []),
        ({"payment_value": "1.234"}, ["payment_value_unparsable"], []),
        ({"payment_sequential": "x"}, ["payment_sequential_unparsable"], []),
        ({"payment_installments": "x"}, [], ["unparsable_payment_installments"]),
        ({"payment_installments": "-1"}, [], []),
    ],
    "order_reviews": [
        ({}, [], []),
        ({"review_score": "5"}, [], []),
        ({"review_score": "0"}, ["review_score_invalid"], []),
        ({"review_score": "6"}, ["review_score_invalid"], []),
        ({"review_score": "5.0"}, ["review_score_unparsable"], []),
        ({"review_score": None}, ["review_score_missing"], []),
        ({"review_id": " "}, ["review_id_missing"], []),
        ({"review_creation_date": "x", "review_answer_timestamp": "y"}, [],
         ["unparsable_review_answer_timestamp", "unparsable_review_creation_date"]),
    ],
    "customers": [
        ({}, [], []),
        ({"customer_state": "sp"}, ["customer_state_invalid"], []),
        ({"customer_state": ""}, ["customer_state_missing"], []),
        ({"customer_id": ""}, ["customer_id_missing"], []),
        ({"customer_city": "?", "customer_zip_code_prefix": "x", "customer_unique_id": None}, [], []),
    ],
    "sellers": [
        ({}, [], []),
        ({"seller_state": "XX"}, ["seller_state_invalid"], []),
        ({"seller_state": None}, ["seller_state_missing"], []),
    ],
    "products": [
        ({}, [], []),
        *(({name: "-0.01"}, [f"{name}_invalid"], []) for name in
          ("product_weight_g", "product_length_cm", "product_height_cm", "product_width_cm")),
        ({"product_weight_g": "heavy"}, [], ["unparsable_product_weight_g"]),
        ({"product_photos_qty": "1.5"}, [], ["unparsable_product_photos_qty"]),
        ({"product_name_lenght": "-1", "product_category_name": None}, [], []),
        ({"product_id": None}, ["product_id_missing"], []),
    ],
    "product_category_name_translation": [
        ({}, [], []),
        ({"product_category_name_english": None}, [], []),
        ({"product_category_name": " "}, ["product_category_name_missing"], []),
    ],
    "geolocation": [
        ({}, [], []),
        ({"geolocation_lat": "5.28", "geolocation_lng": "-73.99"}, [], []),
        ({"geolocation_lat": "5.29"}, ["geolocation_lat_invalid"], []),
        ({"geolocation_lat": "-33.77"}, ["geolocation_lat_invalid"], []),
        ({"geolocation_lat": "9" * 400}, ["geolocation_lat_invalid"], []),
        ({"geolocation_lng": "-34.78"}, ["geolocation_lng_invalid"], []),
        ({"geolocation_lng": "-74"}, ["geolocation_lng_invalid"], []),
        ({"geolocation_lng": "x", "geolocation_lat": None},
         ["geolocation_lat_missing", "geolocation_lng_unparsable"], []),
        ({"geolocation_zip_code_prefix": " "}, ["geolocation_zip_code_prefix_missing"], []),
        ({"geolocation_state": "XX"}, [], []),
    ],
}  # fmt: skip


CITIES: dict[str | None, str | None] = {
    " SÃO   Paulo ": "sao paulo",
    f"Mogi{NBSP}\tDas Cruzes": "mogi das cruzes",
    "Sa\u0303o João d'Aliança": "sao joao d'alianca",
    "ÀÉÎÕÜÇñ": "aeioucn",
    "İstanbul": "istanbul",
    ACUTE: None,
    f"Rio {ACUTE}": "rio",
    "": None,
}
ZIP_PREFIXES: dict[str | None, str | None] = {
    "1310": "01310",
    " 7 ": "00007",
    "01310": "01310",
    "013101": "013101",
    "01310-100": "01310-100",
    " ": None,
}


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    with spark_session(tmp_path_factory.mktemp("spark")) as session:
        yield session


@pytest.mark.parametrize(
    ("column", "cases"), [("customer_city", CITIES), ("customer_zip_code_prefix", ZIP_PREFIXES)]
)
def test_standardised_place(spark: SparkSession, column: str, cases: dict[str | None, str | None]) -> None:
    entity = ENTITIES["customers"]
    versions = [
        version(0, batch=number, **ACCEPTED["customers"] | {column: text})
        for number, text in enumerate(cases)
    ]
    selected = select_versions(bronze_frame(spark, entity, versions), entity)
    places = {row._version_batch: row[column] for row in convert_and_validate(selected, entity).collect()}
    assert {text: places[number] for number, text in enumerate(cases)} == cases


def test_every_entity_has_cases() -> None:
    assert CASES.keys() == ACCEPTED.keys() == ENTITIES.keys()


@pytest.mark.parametrize("name", CASES)
def test_rules(spark: SparkSession, name: str) -> None:
    entity = ENTITIES[name]
    versions = [
        version(0, batch=number, **ACCEPTED[name] | changed)
        for number, (changed, _, _) in enumerate(CASES[name])
    ]
    bronze = bronze_frame(spark, entity, versions)
    selected = select_versions(bronze, entity)
    judged = {row._version_batch: row for row in convert_and_validate(selected, entity).collect()}
    for number, (changed, rules, flags) in enumerate(CASES[name]):
        row = judged[number]
        assert (changed, sorted(row._rules)) == (changed, rules)
        assert (changed, sorted(row._flags)) == (changed, sorted(flags))
