"""The entities of the sample shop."""

import unicodedata
from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F

from medallion_spark.entity import Entity
from medallion_spark.kinds import DECIMAL, DOUBLE, INTEGER, TEXT, TIMESTAMP, Kind, strip_blanks

STATES = (
    "'AC', 'AL', 'AM', 'AP', 'BA', 'CE', 'DF', 'ES', 'GO', 'MA', 'MG', 'MS', 'MT', 'PA', 'PB', 'PE', 'PI', 'PR',"
    " 'RJ', 'RN', 'RO', 'RR', 'RS', 'SC', 'SE', 'SP', 'TO'"
)


def _list_accented_letters() -> tuple[str, str]:
    """Return the letters below U+2000 that decompose into one letter and marks, and those letters, pairwise."""
    accented, plain = [], []
    for letter in map(chr, range(0x80, 0x2000)):
        bare = [part for part in unicodedata.normalize("NFD", letter) if not unicodedata.combining(part)]
        if len(bare) == 1 and bare[0] != letter:
            accented.append(letter)
            plain.append(bare[0])
    return "".join(accented), "".join(plain)


ACCENTED, PLAIN = _list_accented_letters()


def standardise_city(text: Column) -> Column:
    """Lower the case, remove accents, make inner blanks single."""
    plain = F.regexp_replace(F.translate(text, ACCENTED, PLAIN), r"\p{M}+", "")
    return strip_blanks(F.regexp_replace(F.lower(plain), r"[\s\p{Z}]+", " "))


def pad_zip_prefix(text: Column) -> Column:
    """Pad with zeros on the left to five characters; a longer text stays whole."""
    return F.lpad(text, F.greatest(F.lit(5), F.length(text)), F.lit("0"))


CITY = Kind("string", "city: lower case, no accents, single blanks", standardise_city)
ZIP_PREFIX = Kind("string", "zip prefix, padded to five digits", pad_zip_prefix)


ENTITIES: Sequence[Entity] = (
    Entity(
        name="orders",
        key=("order_id",),
        columns={
            "order_id": TEXT,
            "customer_id": TEXT,
            "order_status": TEXT,
            "order_purchase_timestamp": TIMESTAMP,
            "order_approved_at": TIMESTAMP,
            "order_delivered_carrier_date": TIMESTAMP,
            "order_delivered_customer_date": TIMESTAMP,
            "order_estimated_delivery_date": TIMESTAMP,
        },
        also_required=("order_status", "order_purchase_timestamp"),
        rejects={
            "order_status": "order_status not in ('created', 'approved', 'invoiced', 'processing', 'shipped',"
            " 'delivered', 'canceled', 'unavailable')",
        },
        flags={
            "delivered_without_date": "order_status = 'delivered' and order_delivered_customer_date is null",
            "carrier_before_purchase": "order_delivered_carrier_date < order_purchase_timestamp",
            "delivered_before_carrier": "order_delivered_customer_date < order_delivered_carrier_date",
            "approved_before_purchase": "order_approved_at < order_purchase_timestamp",
        },
        bucketed_by="order_id",
    ),
    Entity(
        name="order_items",
        key=("order_id", "order_item_id"),
        columns={
            "order_id": TEXT,
            "order_item_id": INTEGER,
            "product_id": TEXT,
            "seller_id": TEXT,
            "shipping_limit_date": TIMESTAMP,
            "price": DECIMAL,
            "freight_value": DECIMAL,
        },
        also_required=("price", "freight_value"),
        rejects={"price": "price < 0", "freight_value": "freight_value < 0"},
        bucketed_by="order_id",
    ),
    Entity(
        name="order_payments",
        key=("order_id", "payment_sequential"),
        columns={
            "order_id": TEXT,
            "payment_sequential": INTEGER,
            "payment_type": TEXT,
            "payment_installments": INTEGER,
            "payment_value": DECIMAL,
        },
        also_required=("payment_type", "payment_value"),
        rejects={
            "payment_type": "payment_type not in ('credit_card', 'boleto', 'voucher', 'debit_card',"
            " 'not_defined')",
            "payment_value": "payment_value < 0",
        },
        bucketed_by="order_id",
    ),
    Entity(
        name="order_reviews",
        key=("review_id", "order_id"),
        columns={
            "review_id": TEXT,
            "order_id": TEXT,
            "review_score": INTEGER,
            "review_comment_title": TEXT,
            "review_comment_message": TEXT,
            "review_creation_date": TIMESTAMP,
            "review_answer_timestamp": TIMESTAMP,
        },
        also_required=("review_score",),
        rejects={"review_score": "review_score not between 1 and 5"},
        bucketed_by="order_id",
    ),
    Entity(
        name="customers",
        key=("customer_id",),
        columns={
            "customer_id": TEXT,
            "customer_unique_id": TEXT,
            "customer_zip_code_prefix": ZIP_PREFIX,
            "customer_city": CITY,
            "customer_state": TEXT,
        },
        also_required=("customer_state",),
        rejects={"customer_state": f"customer_state not in ({STATES})"},
        bucketed_by="customer_id",
    ),
    Entity(
        name="sellers",
        key=("seller_id",),
        columns={
            "seller_id": TEXT,
            "seller_zip_code_prefix": ZIP_PREFIX,
            "seller_city": CITY,
            "seller_state": TEXT,
        },
        also_required=("seller_state",),
        rejects={"seller_state": f"seller_state not in ({STATES})"},
    ),
    Entity(
        name="products",
        key=("product_id",),
        columns={
            "product_id": TEXT,
            "product_category_name": TEXT,
            "product_name_lenght": INTEGER,
            "product_description_lenght": INTEGER,
            "product_photos_qty": INTEGER,
            "product_weight_g": DECIMAL,
            "product_length_cm": DECIMAL,
            "product_height_cm": DECIMAL,
            "product_width_cm": DECIMAL,
        },
        rejects={
            "product_weight_g": "product_weight_g < 0",
            "product_length_cm": "product_length_cm < 0",
            "product_height_cm": "product_height_cm < 0",
            "product_width_cm": "product_width_cm < 0",
        },
        bucketed_by="product_id",
    ),
    Entity(
        name="product_category_name_translation",
        key=("product_category_name",),
        columns={"product_category_name": TEXT, "product_category_name_english": TEXT},
    ),
    Entity(
        name="geolocation",
        key=("geolocation_id",),
        columns={
            "geolocation_id": INTEGER,
            "geolocation_zip_code_prefix": ZIP_PREFIX,
            "geolocation_lat": DOUBLE,
            "geolocation_lng": DOUBLE,
            "geolocation_city": CITY,
            "geolocation_state": TEXT,
        },
        also_required=("geolocation_zip_code_prefix", "geolocation_lat", "geolocation_lng"),
        rejects={
            "geolocation_lat": "geolocation_lat not between -33.76 and 5.28",
            "geolocation_lng": "geolocation_lng not between -73.99 and -34.79",
        },
        bucketed_by="geolocation_id",
    ),
)
