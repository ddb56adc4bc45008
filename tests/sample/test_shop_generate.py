"""The generator of the shop.

The same seed gives the same rows. Rows refer only to rows that exist, figures are like those of Olist, and the shop has
exactly the requested bad rows.
"""

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any
from unicodedata import category

import pytest

from oracle import ENTITIES, GOLD, canonical_key, expected_from_source
from sample.anomalies import cases
from support.postgres import Query, Server
from tests.sample.cli import sample

UNTIL = ("--until", "2025-01-15 10:00:00")

PARENTS = [
    ("orders", "customer_id", "customers", "customer_id"),
    ("order_items", "order_id", "orders", "order_id"),
    ("order_items", "product_id", "products", "product_id"),
    ("order_items", "seller_id", "sellers", "seller_id"),
    ("order_payments", "order_id", "orders", "order_id"),
    ("order_reviews", "order_id", "orders", "order_id"),
]


def digest(shop: Query) -> dict[str, str]:
    """Return table -> a hash of its rows, which does not depend on their order."""
    return {
        table: shop(
            f"select md5(string_agg(t::text, '' order by t::text collate \"C\")) from sales.{table} as t"
        )[0][0]
        for table in ENTITIES
    }


def test_the_same_seed_makes_the_same_rows(shop: Query, tmp_path: Path) -> None:
    digests, manifests = [], []
    for number, seed in enumerate((7, 7, 8)):
        manifest = tmp_path / str(number)
        arguments = ("--orders", 2000, "--seed", seed, *UNTIL, "--anomalies", "all", "--manifest", manifest)
        assert sample("generate", *arguments, "--replace").exit_code == 0
        digests.append(digest(shop))
        manifests.append(manifest.read_text())
    assert digests[0] == digests[1]
    assert manifests[0] == manifests[1]
    for table in ENTITIES:
        assert digests[0][table] != digests[2][table]


def test_shape(shop: Query, server: Server) -> None:
    assert sample("generate", "--orders", 10_000, *UNTIL).exit_code == 0
    assert shop("select count(*), count(distinct order_id) from sales.orders") == [(10_000, 10_000)]
    for child, column, parent, key in PARENTS:
        orphans = shop(
            f"select count(*) from sales.{child} as child where not exists"
            f" (select from sales.{parent} as parent where parent.{key} = child.{column})"
        )
        assert (child, column, orphans) == (child, column, [(0,)])

    # Shares in the Olist data set, and the tolerance for a shop of this size.
    shares = shop(
        "with baskets as (select order_id, count(*) as items, count(distinct seller_id) as sellers"
        " from sales.order_items group by order_id)"
        " select avg((order_status = 'delivered')::integer)::float,"
        " avg((order_status in ('canceled', 'unavailable'))::integer)::float,"
        " avg((items is null)::integer)::float, avg(coalesce(items > 1, false)::integer)::float,"
        " avg(coalesce(sellers > 1, false)::integer)::float"
        " from sales.orders left join baskets using (order_id)"
    )
    delivered, given_up, empty, several_items, several_sellers = shares[0]
    assert delivered == pytest.approx(0.970, abs=0.04)
    assert given_up == pytest.approx(0.012, abs=0.004)
    assert empty == pytest.approx(0.008, abs=0.004)
    assert several_items == pytest.approx(0.099, abs=0.01)
    assert several_sellers == pytest.approx(0.013, abs=0.007)
    (customers, people), *_ = shop("select count(*), count(distinct customer_unique_id) from sales.customers")
    assert people / customers == pytest.approx(0.966, abs=0.01)
    assert shop(
        "select avg((customer_state = 'SP')::integer) between 0.38 and 0.46 from sales.customers"
    ) == [(True,)]
    days = shop(
        "select avg(extract(epoch from order_delivered_customer_date::timestamp"
        " - order_purchase_timestamp::timestamp)) / 86400 from sales.orders where order_status = 'delivered'"
    )
    assert float(days[0][0]) == pytest.approx(12.5, abs=3)

    # The payments of each order add up to the prices and freight of its items.
    assert shop(
        "with paid as (select order_id, sum(payment_value::numeric) as value"
        " from sales.order_payments group by order_id),"
        " owed as (select order_id, sum(price::numeric + freight_value::numeric) as value"
        " from sales.order_items group by order_id)"
        " select count(*) from owed left join paid using (order_id)"
        " where paid.value is distinct from owed.value"
    ) == [(0,)]
    # The orders are from the two years before `--until`, and no event is later than that.
    assert shop(
        "select min(order_purchase_timestamp) < '2023-02-15', max(order_purchase_timestamp) > '2025-01-13',"
        " max(updated_at) <= '2025-01-15 10:00:00+00' from sales.orders"
    ) == [(True, True, True)]
    assert shop("select max(updated_at) <= '2025-01-15 10:00:00+00' from sales.order_reviews") == [(True,)]
    # `updated_at` is what the loader would set: the latest event of the order.
    assert shop(
        "select count(*) from sales.orders where updated_at <>"
        " greatest(order_purchase_timestamp, order_approved_at, order_delivered_carrier_date,"
        " order_delivered_customer_date)::timestamp at time zone 'UTC'"
    ) == [(0,)]
    assert shop(
        "select (select array_agg(distinct updated_at) from sales.customers) ="
        " (select array[min(order_purchase_timestamp)::timestamp at time zone 'UTC' - interval '1 day']"
        " from sales.orders)"
    ) == [(True,)]

    expected = expected_from_source(server.url("shop", "shop"))
    assert expected.quarantine() == []
    assert expected.flags() == []
    assert {entity: len(expected.rows(entity)) for entity in ENTITIES} == {
        entity: shop(f"select count(*) from sales.{entity}")[0][0] for entity in ENTITIES
    }


def test_the_manifest_is_what_an_independent_check_finds(shop: Query, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    assert (
        sample("generate", "--orders", 5000, *UNTIL, "--anomalies", "all", "--manifest", path).exit_code == 0
    )
    manifest = [json.loads(line) for line in path.read_text().splitlines()]
    by_outcome: dict[str, list[tuple[str, str, Any]]] = {
        outcome: [
            (row["entity"], canonical_key(json.dumps(row["key"])), row)
            for row in manifest
            if row["outcome"] == outcome
        ]
        for outcome in ("quarantined", "flagged", "current", "superseded")
    }
    expected = expected_from_source(server.url("shop", "shop"))

    quarantine = Counter(expected.quarantine())
    assert quarantine == Counter(
        (entity, key, (row["rule"],)) for entity, key, row in by_outcome["quarantined"]
    )
    flags = Counter(expected.flags())
    assert flags == Counter((entity, key, row["rule"]) for entity, key, row in by_outcome["flagged"])

    assert expected.ambiguous_keys() == []
    # The accepted rows are all rows without the copies and the rejected ones.
    rows = {entity: shop(f"select count(*) from sales.{entity}")[0][0] for entity in ENTITIES}
    copies = Counter(row["entity"] for row in manifest if row["kind"] in ("duplicate", "conflict"))
    rejected = Counter(entity for entity, _, _ in by_outcome["quarantined"])
    current = {entity: len(expected.rows(entity)) for entity in ENTITIES}
    assert current == {entity: rows[entity] - copies[entity] - rejected[entity] for entity in ENTITIES}
    for entity, _, row in by_outcome["superseded"]:
        condition = " and ".join(f"{column} = %s" for column in ENTITIES[entity].key)
        versions = shop(f"select {row['column']} from sales.{entity} where {condition}", row["key"])
        assert len(versions) == 2
        assert versions[0][0] != versions[1][0]

    # The largest amounts are in gold, and no sum exceeds decimal(18,2).
    amounts = [
        value for table in GOLD for row in expected.rows(table) for value in row if isinstance(value, Decimal)
    ]
    assert Decimal("99999999999999.99") < max(amounts) < 10**16
    large = Counter((row["entity"], row["column"]) for row in manifest if row["kind"] == "large")
    assert large == Counter(
        [("order_items", "price"), ("order_items", "freight_value"), ("order_payments", "payment_value")]
    )
    orphans = Counter(row["entity"] for row in manifest if row["kind"] == "missing_parent")
    assert set(orphans) == {"orders", "order_items", "order_payments", "order_reviews", "products"}
    # Every kind of anomaly occurs in every column that has a rule for it.
    columns = [
        (entity, column)
        for entity, spec in ENTITIES.items()
        for column in spec.columns
        if column.name != "geolocation_id"  # an identity column: the database sets it
    ]

    def tried(*kinds: str) -> set[tuple[str, str]]:
        return {(row["entity"], row["column"]) for row in manifest if row["kind"] in kinds}

    assert tried("missing") == tried("blank") == {(e, c.name) for e, c in columns if c.required}
    assert tried("unknown", "negative", "out_of_range") == {(e, c.name) for e, c in columns if c.valid}
    assert tried("unparsable") == {(e, c.name) for e, c in columns if c.type not in ("text", "city", "zip")}


def test_only_the_kinds_asked_for(shop: Query, tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    arguments = ("--orders", 2000, *UNTIL, "--anomalies", "duplicate,negative", "--manifest", path)
    assert sample("generate", *arguments).exit_code == 0
    assert {json.loads(line)["kind"] for line in path.read_text().splitlines()} == {"duplicate", "negative"}


def test_no_character_is_unassigned() -> None:
    """The engines know different versions of Unicode, so they could strip different characters."""
    texts = "".join(str(value) for case in cases() for value in case.values)
    assert "Cn" not in {category(character) for character in texts}


def test_a_refused_request_leaves_the_manifest(shop: Query, tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    arguments = ("generate", "--orders", 200, *UNTIL, "--anomalies", "duplicate", "--manifest", path)
    assert sample(*arguments).exit_code == 0
    written = path.read_text()
    assert written
    refused = sample(*arguments)
    assert refused.exit_code == 1
    assert "--replace" in refused.output
    assert path.read_text() == written


def test_the_end_is_now(shop: Query) -> None:
    assert sample("generate", "--orders", 500).exit_code == 0
    newest = "max(order_purchase_timestamp)::timestamp at time zone 'UTC'"
    assert shop(f"select now() - {newest} < interval '3 days', {newest} <= now() from sales.orders") == [
        (True, True)
    ]
    future = sample("generate", "--until", "2999-01-01", "--replace")
    assert future.exit_code == 2
    assert "future" in future.output


def test_orders_spread_over_the_days(shop: Query) -> None:
    assert sample("generate", "--orders", 500, "--days", 3650, "--steady", *UNTIL).exit_code == 0
    years = shop("select left(order_purchase_timestamp, 4), count(*) from sales.orders group by 1 order by 1")
    assert len(years) >= 10
    assert all(45 <= count <= 55 for _, count in years[1:-1])


def test_bad_requests(shop: Query) -> None:
    unknown = sample("generate", "--anomalies", "missing,strange")
    assert unknown.exit_code == 2
    assert "strange" in unknown.output
    assert "out_of_range" in unknown.output
    small = sample("generate", "--orders", 5, *UNTIL, "--anomalies", "all")
    assert small.exit_code == 1
    assert "too small" in small.output
    with pytest.raises(Exception, match="sales"):
        shop("select 1 from sales.orders")  # the refused commands created no tables
    assert sample("generate", "--orders", 1, *UNTIL).exit_code == 0
    assert shop("select count(*) from sales.orders") == [(1,)]
    assert sample("generate", "--orders", 1, *UNTIL).exit_code == 1
