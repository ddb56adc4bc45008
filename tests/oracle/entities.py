"""The nine source tables: their column types, the rules that reject a row, and the conditions that flag a row."""

from collections.abc import Iterable
from dataclasses import dataclass, field

TEXT_TYPES = ("text", "city", "zip")
"""Types to which any text can be converted. For each type T, sql/macros.sql has a macro `parse_T`."""


@dataclass(frozen=True)
class Column:
    """A source column: its type, whether it is required, and an SQL condition that its value must meet."""

    name: str
    type: str = "text"
    required: bool = False
    valid: str = ""

    @property
    def rule(self) -> str:
        """SQL that returns the name of the rule that this column's value breaks, or null."""
        cases = []
        if self.required:
            cases.append(f"when parse_text(raw.{self.name}) is null then '{self.name}_missing'")
            cases.append(f"when {self.name} is null then '{self.name}_unparsable'")
        if self.valid:
            cases.append(f"when not ({self.name} {self.valid}) then '{self.name}_invalid'")
        return f"case {' '.join(cases)} end" if cases else "null"

    @property
    def flag(self) -> str:
        """SQL that returns the flag of an optional value that cannot be converted to the column's type, or null."""
        if self.required or self.type in TEXT_TYPES:
            return "null"
        unparsable = f"{self.name} is null and parse_text(raw.{self.name}) is not null"
        return f"case when {unparsable} then 'unparsable_{self.name}' end"


@dataclass(frozen=True)
class Entity:
    """A source table: its natural key, its columns in their order, and further flags: name -> SQL condition."""

    key: tuple[str, ...]
    columns: tuple[Column, ...]
    flags: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The names of the columns, without `updated_at`."""
        return [column.name for column in self.columns]


NOT_NEGATIVE = ">= 0"
STATE = (
    "in ('AC', 'AL', 'AM', 'AP', 'BA', 'CE', 'DF', 'ES', 'GO', 'MA', 'MG', 'MS', 'MT', 'PA', 'PB', 'PE', "
    "'PI', 'PR', 'RJ', 'RN', 'RO', 'RR', 'RS', 'SC', 'SE', 'SP', 'TO')"
)
STATUS = (
    "in ('created', 'approved', 'invoiced', 'processing', 'shipped', 'delivered', 'canceled', 'unavailable')"
)
PAYMENT_TYPE = "in ('credit_card', 'boleto', 'voucher', 'debit_card', 'not_defined')"

ENTITIES = {
    "orders": Entity(
        ("order_id",),
        (
            Column("order_id", required=True),
            Column("customer_id"),
            Column("order_status", required=True, valid=STATUS),
            Column("order_purchase_timestamp", "timestamp", required=True),
            Column("order_approved_at", "timestamp"),
            Column("order_delivered_carrier_date", "timestamp"),
            Column("order_delivered_customer_date", "timestamp"),
            Column("order_estimated_delivery_date", "timestamp"),
        ),
        {
            "delivered_without_date": "order_status = 'delivered' and order_delivered_customer_date is null",
            "carrier_before_purchase": "order_delivered_carrier_date < order_purchase_timestamp",
            "delivered_before_carrier": "order_delivered_customer_date < order_delivered_carrier_date",
            "approved_before_purchase": "order_approved_at < order_purchase_timestamp",
        },
    ),
    "order_items": Entity(
        ("order_id", "order_item_id"),
        (
            Column("order_id", required=True),
            Column("order_item_id", "integer", required=True),
            Column("product_id"),
            Column("seller_id"),
            Column("shipping_limit_date", "timestamp"),
            Column("price", "decimal", required=True, valid=NOT_NEGATIVE),
            Column("freight_value", "decimal", required=True, valid=NOT_NEGATIVE),
        ),
    ),
    "order_payments": Entity(
        ("order_id", "payment_sequential"),
        (
            Column("order_id", required=True),
            Column("payment_sequential", "integer", required=True),
            Column("payment_type", required=True, valid=PAYMENT_TYPE),
            Column("payment_installments", "integer"),
            Column("payment_value", "decimal", required=True, valid=NOT_NEGATIVE),
        ),
    ),
    "order_reviews": Entity(
        ("review_id", "order_id"),
        (
            Column("review_id", required=True),
            Column("order_id", required=True),
            Column("review_score", "integer", required=True, valid="between 1 and 5"),
            Column("review_comment_title"),
            Column("review_comment_message"),
            Column("review_creation_date", "timestamp"),
            Column("review_answer_timestamp", "timestamp"),
        ),
    ),
    "customers": Entity(
        ("customer_id",),
        (
            Column("customer_id", required=True),
            Column("customer_unique_id"),
            Column("customer_zip_code_prefix", "zip"),
            Column("customer_city", "city"),
            Column("customer_state", required=True, valid=STATE),
        ),
    ),
    "sellers": Entity(
        ("seller_id",),
        (
            Column("seller_id", required=True),
            Column("seller_zip_code_prefix", "zip"),
            Column("seller_city", "city"),
            Column("seller_state", required=True, valid=STATE),
        ),
    ),
    "products": Entity(
        ("product_id",),
        (
            Column("product_id", required=True),
            Column("product_category_name"),
            Column("product_name_lenght", "integer"),
            Column("product_description_lenght", "integer"),
            Column("product_photos_qty", "integer"),
            Column("product_weight_g", "decimal", valid=NOT_NEGATIVE),
            Column("product_length_cm", "decimal", valid=NOT_NEGATIVE),
            Column("product_height_cm", "decimal", valid=NOT_NEGATIVE),
            Column("product_width_cm", "decimal", valid=NOT_NEGATIVE),
        ),
    ),
    "product_category_name_translation": Entity(
        ("product_category_name",),
        (
            Column("product_category_name", required=True),
            Column("product_category_name_english"),
        ),
    ),
    "geolocation": Entity(
        ("geolocation_id",),
        (
            Column("geolocation_id", "integer", required=True),
            Column("geolocation_zip_code_prefix", "zip", required=True),
            Column("geolocation_lat", "coordinate", required=True, valid="between -33.76 and 5.28"),
            Column("geolocation_lng", "coordinate", required=True, valid="between -73.99 and -34.79"),
            Column("geolocation_city", "city"),
            Column("geolocation_state"),
        ),
    ),
}


def _list(expressions: Iterable[str]) -> str:
    """Return SQL for the sorted list of the expressions' values that are not null."""
    return f"list_sort(list_filter([{', '.join(expressions)}]::varchar[], lambda x: x is not null))"


def judged(name: str) -> str:
    """Return a query on `source.<name>` with a row for each version, its values converted to their types.

    Columns: those of the entity; `updated_at` (UTC); `raw_key`: the key as a JSON array of text; `rules`: the rules
    that the version breaks; `flags`; `latest`: whether it is the newest version of its converted key (a key with a null
    part equals no other key); `ambiguous`: whether another version of the key has the same `updated_at`.
    """
    entity = ENTITIES[name]
    key = ", ".join(entity.key)
    parsed = ", ".join(f"parse_{c.type}({c.name}) as {c.name}" for c in entity.columns)
    raw_key = ", ".join(f"raw.{column}::varchar" for column in entity.key)
    no_key = " or ".join(f"{column} is null" for column in entity.key)
    flags = [f"case when {condition} then '{flag}' end" for flag, condition in entity.flags.items()]
    return f"""
        with versions as (
            -- equal rows are one version
            select distinct {", ".join(entity.names)}, updated_at
            from source.{name}
        ),
        typed as (
            select versions as raw, {parsed}, updated_at
            from versions
        ),
        final as (
            select
                * exclude (raw),
                to_json([{raw_key}])::varchar as raw_key,
                {_list(c.rule for c in entity.columns)} as rules,
                {_list([c.flag for c in entity.columns] + flags)} as flags,
                {no_key} or row_number() over (
                    partition by {key} order by updated_at desc, raw::varchar desc
                ) = 1 as latest,
                not ({no_key}) and count(*) over (partition by {key}, updated_at) > 1 as ambiguous
            from typed
        )
        select * from final
    """
