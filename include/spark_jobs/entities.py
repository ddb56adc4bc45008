"""The silver entities: per source table its key, columns, what rejects a row and what flags it.

To add a table, add a declaration here. Conditions are Spark SQL over the parsed columns, true for a bad row; a null
column breaks none of them. A row is rejected as `<column>_missing` or `<column>_unparsable` where a required column is
null, as `<column>_invalid` where the column meets its condition in `rejects`; an optional column that does not parse
flags the row `unparsable_<column>`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from parsing import CITY, COORDINATE, DECIMAL, INTEGER, TEXT, TIMESTAMP, ZIP_PREFIX, Kind

# Few: every hour's keys are in all of them, and each gets a file an hour that every reader opens.
BUCKETS = 4
STATES = (
    "'AC', 'AL', 'AM', 'AP', 'BA', 'CE', 'DF', 'ES', 'GO', 'MA', 'MG', 'MS', 'MT', 'PA', 'PB', 'PE', 'PI', 'PR',"
    " 'RJ', 'RN', 'RO', 'RR', 'RS', 'SC', 'SE', 'SP', 'TO'"
)


@dataclass(frozen=True)
class Entity:
    """One silver entity, named as its source table.

    `key` is the natural key, always required. `bucketed_by` is the key column that spreads the table over `BUCKETS`
    partitions; leave it out for a table that stays small.
    """

    name: str
    key: tuple[str, ...]
    columns: Mapping[str, Kind]
    also_required: tuple[str, ...] = ()
    rejects: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    bucketed_by: str | None = None

    @property
    def required(self) -> tuple[str, ...]:
        """The columns without which a row is rejected: the key and `also_required`."""
        return (*self.key, *self.also_required)

    @property
    def partitioned_by(self) -> str | None:
        """The Iceberg partition transform of the table, if it has one."""
        return f"bucket({BUCKETS}, {self.bucketed_by})" if self.bucketed_by else None

    @property
    def bronze_table(self) -> str:
        """The changelog this entity is made from."""
        return f"lake.bronze.{self.name}"

    @property
    def table(self) -> str:
        """The table this entity is kept in."""
        return f"lake.silver.stg_{self.name}"


_DECLARED = (
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
            "geolocation_lat": COORDINATE,
            "geolocation_lng": COORDINATE,
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

ENTITIES = {entity.name: entity for entity in _DECLARED}
