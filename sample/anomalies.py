"""Inject bad and unusual rows into the generated shop, and list the changed rows in a manifest.

A kind of anomaly, such as `missing` or `unparsable`, has a case for each column to which it applies. Each case changes
rows of its own, so a row has at most one anomaly.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Literal, NamedTuple

import click
from psycopg2.extensions import cursor

from sample import shop

NBSP, ZERO_WIDTH, BOM = "\u00a0", "\u200b", "\ufeff"

Outcome = Literal["quarantined", "flagged", "current", "superseded", "stopped"]


class Column(NamedTuple):
    """A column that has rules. `type`: a key of UNPARSABLE or of UNKNOWN, or "text"."""

    entity: str
    name: str
    type: str
    required: bool = True


class Case(NamedTuple):
    """One way to change rows of an entity: `column` is set to the SQL `expression` of one of `values`.

    copy: the case adds a changed copy of a row and does not change the row itself. once: the case changes only one row,
    however large the shop is. drift: the case adds the column to the table, because the schema does not have it.
    """

    kind: str
    entity: str
    column: str | None
    outcome: Outcome
    rule: str | None
    values: tuple[Any, ...]
    expression: str = "%(value)s"
    copy: bool = False
    once: bool = False
    drift: bool = False

    @property
    def where(self) -> str:
        """Return the condition for rows to which the case applies.

        Cases of orders use delivered ones, because only these have all dates. But a delivered order with an unparsable
        delivery date would get a second flag, `delivered_without_date`. So this case uses other orders.
        """
        if self.entity != "orders":
            return "true"
        undated = self.rule == "unparsable_order_delivered_customer_date"
        return f"order_status {'<>' if undated else '='} 'delivered'"


class Injected(NamedTuple):
    """A line of the manifest: the change of a row, and the outcome that the pipeline must report.

    key: the row's natural key; empty if the table itself was changed. rule: the rule that rejects the row, or its flag.
    """

    kind: str
    entity: str
    key: list[str | int | None]
    column: str | None
    outcome: Outcome
    rule: str | None


COLUMNS = (
    Column("orders", "order_id", "text"),
    Column("orders", "order_status", "status"),
    Column("orders", "order_purchase_timestamp", "time"),
    Column("orders", "order_approved_at", "time", required=False),
    Column("orders", "order_delivered_carrier_date", "time", required=False),
    Column("orders", "order_delivered_customer_date", "time", required=False),
    Column("orders", "order_estimated_delivery_date", "time", required=False),
    Column("order_items", "order_id", "text"),
    Column("order_items", "order_item_id", "integer"),
    Column("order_items", "shipping_limit_date", "time", required=False),
    Column("order_items", "price", "amount"),
    Column("order_items", "freight_value", "amount"),
    Column("order_payments", "order_id", "text"),
    Column("order_payments", "payment_sequential", "integer"),
    Column("order_payments", "payment_type", "payment_type"),
    Column("order_payments", "payment_installments", "integer", required=False),
    Column("order_payments", "payment_value", "amount"),
    Column("order_reviews", "review_id", "text"),
    Column("order_reviews", "order_id", "text"),
    Column("order_reviews", "review_score", "score"),
    Column("order_reviews", "review_creation_date", "time", required=False),
    Column("order_reviews", "review_answer_timestamp", "time", required=False),
    Column("customers", "customer_id", "text"),
    Column("customers", "customer_state", "state"),
    Column("sellers", "seller_id", "text"),
    Column("sellers", "seller_state", "state"),
    Column("products", "product_id", "text"),
    Column("products", "product_name_lenght", "integer", required=False),
    Column("products", "product_description_lenght", "integer", required=False),
    Column("products", "product_photos_qty", "integer", required=False),
    Column("products", "product_weight_g", "amount", required=False),
    Column("products", "product_length_cm", "amount", required=False),
    Column("products", "product_height_cm", "amount", required=False),
    Column("products", "product_width_cm", "amount", required=False),
    Column("product_category_name_translation", "product_category_name", "text"),
    Column("geolocation", "geolocation_zip_code_prefix", "text"),
    Column("geolocation", "geolocation_lat", "latitude"),
    Column("geolocation", "geolocation_lng", "longitude"),
)

# The dictionaries below map a column's type to values for the anomaly.
Values = dict[str, tuple[str, ...]]
UNPARSABLE: Values = {
    "integer": ("abc", "1.0", "1,0", "+1", "１", "1 2", "0x1"),
    "score": ("abc", "5.0", "five", "５"),
    "amount": ("abc", "12,50", "1.234", "1e3", ".5", "5.", "R$ 10.00", "NaN", "Infinity", "1 000.00"),
    "latitude": ("abc", "-23,55", "--23.5", "NaN"),
    "longitude": ("abc", "-46,63", "--46.6", "NaN"),
    "time": (
        "abc", "2018-02-30 10:00:00", "2018-13-01 10:00:00", "2018-01-01 24:00:00", "2018-01-01 10:60:00",
        "2018-01-01T10:00:00", "2018-01-01 10:00:00+00", "2018-01-01", "01/02/2018 10:00:00",
        "0000-01-01 00:00:00",
    ),
}  # fmt: skip
HUGE: Values = {
    "integer": ("9223372036854775808", "9" * 40),
    "score": ("9" * 20,),
    "amount": ("1" + "0" * 16, "9" * 40 + ".99"),
}
# The largest injected amount. Each column gets it only once, because the sum of many would exceed decimal(18,2).
LARGE: Values = {"amount": ("99999999999999.99",)}
NEGATIVE: Values = {"amount": ("-0.01", "-5", "-1000.00")}
OUT_OF_RANGE: Values = {
    "score": ("0", "6", "-1"),
    "latitude": ("5.29", "-33.77", "90"),
    "longitude": ("-34.78", "-74", "180"),
}
UNKNOWN: Values = {
    "status": ("Delivered", "DELIVERED", "paid", "deliverd"),
    "payment_type": ("pix", "Credit_Card", "credit card"),
    "state": ("sp", "XX", "São Paulo"),
}
BLANK = ("", "   ", NBSP + ZERO_WIDTH, f"\t\r\n{BOM}")
# Characters that are put before the text. A zero-width space is put after it.
ODD_UNICODE = (NBSP, BOM, f"{ZERO_WIDTH} \u2003", "\u0085")

PARENTS = (
    ("orders", "customer_id"),
    ("order_items", "order_id"),
    ("order_items", "product_id"),
    ("order_items", "seller_id"),
    ("order_payments", "order_id"),
    ("order_reviews", "order_id"),
    ("products", "product_category_name"),
)
# Columns and values for changed copies. No generated row has these values. A copy is a second older than its original,
# so the original decides.
CONFLICTS = (
    ("orders", "order_status", "approved"),
    ("order_items", "price", "0.01"),
    ("order_payments", "payment_value", "0.01"),
    ("order_reviews", "review_comment_title", "Antes"),
    ("customers", "customer_city", "itu"),
    ("sellers", "seller_city", "itu"),
    ("products", "product_weight_g", "1"),
    ("product_category_name_translation", "product_category_name_english", "before"),
)
NEW_COLUMNS = (("orders", "order_channel", ("app", "loja")), ("products", "product_color", ("azul",)))
DISORDERS = (
    ("carrier_before_purchase", "order_delivered_carrier_date", "order_purchase_timestamp"),
    ("delivered_before_carrier", "order_delivered_customer_date", "order_delivered_carrier_date"),
    ("approved_before_purchase", "order_approved_at", "order_purchase_timestamp"),
)


def cases() -> Iterator[Case]:
    """Yield all cases, always in the same order."""
    for column in COLUMNS:
        yield from column_cases(column)
    for flag, name, earlier in DISORDERS:
        expression = f"({earlier}::timestamp - %(value)s::interval)::text"
        yield Case(flag, "orders", name, "flagged", flag, ("1 second", "3 days"), expression)
    flag = "delivered_without_date"
    yield Case(flag, "orders", "order_delivered_customer_date", "flagged", flag, (None,))
    for entity, name in PARENTS:
        yield Case(
            "missing_parent",
            entity,
            name,
            "current",
            None,
            ("nobody-",),  # with a dash, so that trade.sql skips it
            f"%(value)s || coalesce({name}, '')",
        )
    for entity, name, value in CONFLICTS:
        yield Case("duplicate", entity, None, "current", None, (None,), copy=True)
        yield Case("conflict", entity, name, "superseded", None, (value,), copy=True)
    for entity, name, values in NEW_COLUMNS:
        yield Case("new_column", entity, name, "current", None, values, drift=True)
    yield Case(
        "long_text",
        "order_reviews",
        "review_comment_message",
        "current",
        None,
        (100_000,),
        "repeat('ã', %(value)s)",
    )


def column_cases(column: Column) -> Iterator[Case]:
    """Yield the cases that follow from the rules of one column."""
    entity, name, kind, required = column
    if required:
        yield Case("missing", entity, name, "quarantined", f"{name}_missing", (None,))
        yield Case("blank", entity, name, "quarantined", f"{name}_missing", BLANK)
        yield Case(
            "odd_unicode",
            entity,
            name,
            "current",
            None,
            ODD_UNICODE,
            f"%(value)s || {name} || '{ZERO_WIDTH}'",
        )
    for anomaly, values in (("unparsable", UNPARSABLE), ("huge", HUGE)):
        if kind in values:
            outcome: Outcome = "quarantined" if required else "flagged"
            rule = f"{name}_unparsable" if required else f"unparsable_{name}"
            yield Case(anomaly, entity, name, outcome, rule, values[kind])
    for anomaly, values in (("negative", NEGATIVE), ("out_of_range", OUT_OF_RANGE), ("unknown", UNKNOWN)):
        if kind in values:
            yield Case(anomaly, entity, name, "quarantined", f"{name}_invalid", values[kind])
    if required and kind in LARGE:
        yield Case("large", entity, name, "current", None, LARGE[kind], once=True)


KINDS = sorted({case.kind for case in cases()})
# The kind that drops a column. `all` does not include it, because every run fails while the column is missing.
DROPPED_COLUMN = Injected("dropped_column", "geolocation", [], "geolocation_city", "stopped", None)


def inject(cur: cursor, kinds: list[str], seed: int) -> list[Injected]:
    """Inject anomalies of the given kinds, and return the changes.

    In all, about two percent of a table's rows are changed, but at most 100 rows for each case. `updated_at` of changed
    rows stays the same. A changed copy is a second older than its original.

    Raises click.ClickException if the shop is too small for one row per case.
    """
    injected = []
    chosen = sorted(
        (case for case in cases() if case.kind in kinds), key=lambda case: (case.entity, case.where)
    )
    for case in chosen:
        if case.drift:
            cur.execute(f"alter table sales.{case.entity} add column if not exists {case.column} text")
    for (entity, where), group in groupby(chosen, key=lambda case: (case.entity, case.where)):
        pool = list(group)
        cur.execute(f"alter table sales.{entity} disable trigger user")
        (count,) = shop.rows(cur, f"select count(*) from sales.{entity} where {where}")[0]
        rows_per_case = max(1, min(100, count // (50 * len(pool))))
        victims = shop.rows(
            cur,
            f"select ctid from sales.{entity} where {where} "
            f"order by hashtextextended({shop.TABLES[entity][0]}::text, %s), ctid limit %s",
            (seed, rows_per_case * len(pool)),
        )
        if len(victims) < len(pool):
            raise click.ClickException(
                f"The shop is too small: {len(pool)} kinds of bad row in {count} {entity}. "
                "Ask for more orders or fewer kinds. Nothing was changed."
            )
        for index, (row,) in enumerate(victims):
            turn, case = index // len(pool), pool[index % len(pool)]
            if not (case.once and turn):
                injected.append(spoil(cur, case, row, turn + seed))
        cur.execute(f"alter table sales.{entity} enable trigger user")
    if DROPPED_COLUMN.kind in kinds:
        cur.execute(f"alter table sales.{DROPPED_COLUMN.entity} drop column {DROPPED_COLUMN.column}")
        injected.append(DROPPED_COLUMN)
    return injected


def spoil(cur: cursor, case: Case, row: str, turn: int) -> Injected:
    """Apply `case` to the row with the ctid `row`. `turn` chooses one of the case's values."""
    key = ", ".join(shop.TABLES[case.entity])
    table = f"sales.{case.entity}"
    parameters = {"row": row, "value": case.values[turn % len(case.values)]}
    if case.copy:
        change = (
            f"'{case.column}', %(value)s::text, 'updated_at', updated_at - interval '1 second'"
            if case.column
            else ""
        )
        statement = (
            f"insert into {table} select (jsonb_populate_record(original, jsonb_build_object({change}))).* "
            f"from {table} as original where ctid = %(row)s returning {key}"
        )
    else:
        statement = (
            f"update {table} set {case.column} = {case.expression} where ctid = %(row)s returning {key}"
        )
    return Injected(
        kind=case.kind,
        entity=case.entity,
        key=list(shop.rows(cur, statement, parameters)[0]),
        column=case.column,
        outcome=case.outcome,
        rule=case.rule,
    )
