"""What silver, quarantine and accounts hold after runs, in whatever order versions arrive.

Each story is a key of its own (its name is the order id); all are told at once, a chapter a batch.
"""

import itertools
import random
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import SparkSession

import silver
from entities import ENTITIES

from .conftest import Lake, Values, version

SILVER = (
    "_raw_key, _state, price, _rules, _hash, _version_batch, _first_extracted_at, _flags, _op, updated_at"
)
QUARANTINE = "entity, key, updated_at, rules, row, superseded, _hash, _op, _version_batch"
BAD = "-1"


def item(name: str | None, at: int, price: str = "1", number: str | None = "1", op: str = "upsert") -> Values:
    """Return a version of an order item; its batch comes with the chapter."""
    return {
        "at": at,
        "op": op,
        "order_id": name,
        "order_item_id": number,
        "price": price,
        "freight_value": "0",
    }


@dataclass
class Story:
    """`chapters` of versions as (at, price, number, op); `shown` after each chapter: item number and price, or state.

    `kept` are the rejected versions in the end: (number, at, superseded).
    """

    name: str
    chapters: list[list[tuple[Any, ...]]]
    shown: list[dict[str, str]]
    kept: list[tuple[str, int, bool]]


STORIES = [
    Story("newer wins", [[(1, "1")], [(2, "2")], []], [{"1": "1"}, {"1": "2"}, {"1": "2"}], []),
    Story("older comes late", [[(2, "2")], [(1, "1")], []], [{"1": "2"}] * 3, []),
    Story("both at once", [[(2, "2"), (1, "1")], [], []], [{"1": "2"}] * 3, []),
    Story(
        "same time, later batch wins", [[(1, "1")], [(1, "2")], []], [{"1": "1"}, {"1": "2"}, {"1": "2"}], []
    ),
    Story(
        "deleted, then an old version comes late",
        [[(1, "1")], [(3, "1", "1", "delete")], [(2, "2")]],
        [{"1": "1"}, {"1": "deleted"}, {"1": "deleted"}],
        [],
    ),
    Story(
        "deleted at the time of its version, in one batch",
        [[(1, "1"), (1, "1", "1", "delete")], [], []],
        [{"1": "deleted"}] * 3,
        [],
    ),
    Story(
        "back after a delete",
        [[(1, "1")], [(1, "1", "1", "delete")], [(2, "2")]],
        [{"1": "1"}, {"1": "deleted"}, {"1": "2"}],
        [],
    ),
    Story(
        "deleted before it was seen", [[(2, "1", "1", "delete")], [(1, "1")], []], [{"1": "deleted"}] * 3, []
    ),
    Story(
        "invalid, valid, invalid",
        [[(1, BAD)], [(2, "2")], [(3, BAD)]],
        [{"1": "rejected"}, {"1": "2"}, {"1": "rejected"}],
        [("1", 1, True), ("1", 3, False)],
    ),
    Story(
        "invalid comes late",
        [[(2, "2")], [(1, BAD)], []],
        [{"1": "2"}] * 3,
        [("1", 1, True)],
    ),
    Story(
        "invalid ones in reverse",
        [[(3, BAD)], [(2, "2")], [(1, BAD)]],
        [{"1": "rejected"}] * 3,
        [("1", 1, True), ("1", 3, False)],
    ),
    Story(
        "invalid, then deleted",
        [[(1, BAD)], [(1, BAD, "1", "delete")], []],
        [{"1": "rejected"}, {"1": "deleted"}, {"1": "deleted"}],
        [("1", 1, True)],
    ),
    Story(
        "two spellings, the newer is shown",
        [[(1, "1", "1")], [(2, "2", "01")], []],
        [{"1": "1"}, {"1": "superseded", "01": "2"}, {"1": "superseded", "01": "2"}],
        [],
    ),
    Story(
        "two spellings, the newer is deleted",
        [[(1, "1", "1"), (2, "2", "01")], [(2, "2", "01", "delete")], []],
        [{"1": "superseded", "01": "2"}, {"1": "1", "01": "deleted"}, {"1": "1", "01": "deleted"}],
        [],
    ),
    Story(
        "two spellings, the older is deleted later",
        [[(1, "1", "1"), (2, "2", "01")], [(5, "1", "1", "delete")], []],
        [{"1": "superseded", "01": "2"}, {"1": "deleted", "01": "2"}, {"1": "deleted", "01": "2"}],
        [],
    ),
    Story(
        "two spellings, both deleted, one comes back",
        [
            [(1, "1", "1"), (2, "2", " 1")],
            [(1, "1", "1", "delete"), (2, "2", " 1", "delete")],
            [(3, "3", "1")],
        ],
        [{"1": "superseded", " 1": "2"}, {"1": "deleted", " 1": "deleted"}, {"1": "3", " 1": "deleted"}],
        [],
    ),
    Story(
        "two spellings, the newer is invalid, then deleted",
        [[(1, "1", "1")], [(2, BAD, "01")], [(2, BAD, "01", "delete")]],
        [{"1": "1"}, {"1": "superseded", "01": "rejected"}, {"1": "1", "01": "deleted"}],
        [("01", 2, True)],
    ),
    Story(
        "two spellings, the invalid older one comes back to light",
        [[(1, BAD, "1")], [(2, "2", "01")], [(2, "2", "01", "delete")]],
        [{"1": "rejected"}, {"1": "superseded", "01": "2"}, {"1": "rejected", "01": "deleted"}],
        [("1", 1, False)],
    ),
]

PUBLISHED = [0, 1, 1]  # the second run did not publish: the third reads its versions again


def told(story: Story, chapter: int) -> list[Values]:
    """Return the bronze rows of a chapter."""
    rows = []
    for at, *rest in story.chapters[chapter]:
        rows.append(version(batch=chapter + 1, **item(story.name, at, *rest)))
    return rows


@pytest.fixture(scope="module")
def pages(module_lake: Lake) -> list[dict[str, dict[str, str]]]:
    """Run all stories; return per chapter what silver holds: story, item number as written, price or state."""
    found = []
    for chapter, published in enumerate(PUBLISHED):
        module_lake.capture("order_items", *(row for story in STORIES for row in told(story, chapter)))
        module_lake.run("order_items", batch=chapter + 1, published=published)
        rows: dict[str, dict[str, str]] = {}
        for name, number, state, price in module_lake.rows(
            "stg_order_items", "order_id, get_json_object(_raw_key, '$[1]'), _state, cast(price as int)"
        ):
            rows.setdefault(name, {})[number] = str(price) if state == "current" else state
        found.append(rows)
    return found


@pytest.mark.parametrize("story", STORIES, ids=[story.name for story in STORIES])
def test_story(pages: list[dict[str, dict[str, str]]], module_lake: Lake, story: Story) -> None:
    assert [page.get(story.name, {}) for page in pages] == story.shown
    kept = module_lake.rows(
        "quarantine",
        "get_json_object(key, '$[1]'), unix_seconds(updated_at) - unix_seconds(timestamp '2018-01-01'), superseded",
        f"get_json_object(key, '$[0]') = '{story.name}'",
    )
    assert kept == sorted(story.kept, key=repr)


def test_stories_end_as_a_rebuild_does(pages: Any, module_lake: Lake) -> None:
    before = module_lake.snapshots()
    module_lake.run("order_items", batch=4, published=3, rebuild=True)
    # It found nothing to change, and so left every row alone; only its accounts are new.
    assert module_lake.snapshots() == before | {"entity_accounts": before["entity_accounts"] + 1}
    assert {batch for (batch,) in module_lake.rows("stg_order_items", "_batch")} == {1, 2, 3}


def test_state_other_than_current_or_superseded_has_no_values(pages: Any, module_lake: Lake) -> None:
    where = "_state in ('rejected', 'deleted') and (price is not null or freight_value is not null)"
    assert module_lake.rows("stg_order_items", "*", where) == []


def test_accounts_by_hand(lake: Lake) -> None:
    lake.capture(
        "order_items",
        version(batch=1, **item("a", 1)),
        version(batch=1, **item("a", 2)),
        version(batch=1, **item("b", 1)),
        version(batch=1, **item("b", 1, op="delete")),
        version(batch=1, **item("c", 1, BAD)),
        version(batch=1, **item("d", 1)),
        version(batch=1, **item("d", 2, BAD)),
        version(batch=1, **item(None, 1)),
        version(batch=1, **item("e", 1, number="x")),
        version(batch=1, **item(None, 2, op="delete")),
    )
    lake.run("order_items", batch=1)
    lake.capture("order_items", version(batch=2, **item("c", 2)), version(batch=2, **item("a", 0)))
    lake.run("order_items", batch=2, published=1)
    # batch, entity, read, current, deleted, superseded, quarantined, latest, rejected_latest
    assert lake.rows("entity_accounts") == [
        (1, "order_items", 10, 1, 2, 3, 4, 5, 4),
        (2, "order_items", 2, 1, 0, 1, 0, 2, 0),
    ]


def test_null_keys_stand_in_quarantine_each_for_itself(lake: Lake) -> None:
    lake.capture(
        "order_items",
        version(batch=1, **item(None, 1)),
        version(batch=1, **item(None, 2)),
        version(batch=1, **item("\u00a0", 2)),
        version(batch=1, **item("a", 2, number=None)),
        version(batch=1, **item("a", 2, number="x")),
        version(batch=1, **item("a", 3, number="x")),
        version(batch=1, **item(None, 4, op="delete")),
    )
    for batch in (1, 2):
        lake.run("order_items", batch=batch)
        assert lake.rows("stg_order_items") == []
        assert lake.rows("quarantine", "key, rules, superseded") == [
            ('["\u00a0","1"]', ["order_id_missing"], False),
            ('["a","x"]', ["order_item_id_unparsable"], False),
            ('["a","x"]', ["order_item_id_unparsable"], False),
            ('["a",null]', ["order_item_id_missing"], False),
            ('[null,"1"]', ["order_id_missing"], False),
            ('[null,"1"]', ["order_id_missing"], False),
        ]


def test_details(lake: Lake, spark: SparkSession) -> None:
    """What the stories leave out, each with an order of its own."""
    lake.capture(
        "order_items",
        version(batch=1, **item(" raw", 1, "1,5")),
        version(batch=1, digest="f", **item("hash", 1, "6")),
        version(batch=1, digest="0", **item("hash", 1, "7")),
        version(batch=1, extracted=50, **item("first", 2)),
        *[version(batch=1, **item("twice", 1)), version(batch=1, **item("twice bad", 1, BAD))] * 2,
        version(batch=1, digest="1", **item("stamped", 1, BAD)),
        version(batch=2, digest="2", **item("stamped", 1, "2")),
    )
    lake.run("order_items", batch=2)
    held = "order_id, _state, price, _version_batch"
    # The hash decides between two versions alike in all else; a version that is there twice is one.
    assert lake.rows("stg_order_items", held, "order_id in ('hash', 'twice', 'twice bad', 'stamped')") == [
        ("hash", "current", Decimal("6.00"), 1),
        ("stamped", "current", Decimal("2.00"), 2),
        ("twice bad", "rejected", None, 1),
        ("twice", "current", Decimal("1.00"), 1),
    ]
    # The row is kept as the source wrote it.
    assert lake.rows("quarantine", "row, rules", "contains(key, 'raw')") == [
        (
            '{"order_id":" raw","order_item_id":"1","price":"1,5","freight_value":"0",'
            '"updated_at":"2018-01-01T00:00:01.000000Z"}',
            ["price_unparsable"],
        )
    ]
    assert lake.rows("quarantine", "key, superseded", "contains(key, 'twice')") == [
        ('["twice bad","1"]', False)
    ]
    # Of each pair in bronze one counts as itself, the other as superseded; a rejected one stays rejected.
    assert lake.rows("entity_accounts", "read, current, superseded, quarantined") == [(10, 4, 2, 4)]

    # A version that bronze stamped with a newer batch decides again; the earliest extraction is kept.
    spark.sql("update lake.bronze.order_items set _batch = 3 where _hash = '1'")
    lake.capture(
        "order_items",
        version(batch=3, extracted=40, **item("first", 1)),
        version(batch=3, extracted=30, **item(" first", 1)),
    )
    lake.run("order_items", batch=3, published=2)
    assert lake.rows("stg_order_items", held, "order_id = 'stamped'") == [("stamped", "rejected", None, 3)]
    assert lake.rows("quarantine", "superseded, _version_batch", "contains(key, 'stamped')") == [(False, 3)]
    seconds = (
        "unix_seconds(_first_extracted_at) - unix_seconds(timestamp '2018-01-02'), _version_batch, _batch"
    )
    assert lake.rows("stg_order_items", f"_state, {seconds}", "order_id = 'first'") == [
        ("current", 30, 1, 3),
        ("superseded", 30, 3, 3),
    ]

    spark.sql("update lake.bronze.order_items set _batch = 4 where _hash = '2'")
    lake.run("order_items", batch=4, published=3)
    assert lake.rows("stg_order_items", held, "order_id = 'stamped'") == [
        ("stamped", "current", Decimal("2.00"), 4)
    ]
    assert lake.rows("quarantine", "superseded, _version_batch", "contains(key, 'stamped')") == [(True, 3)]


def test_nothing_new_commits_nothing(lake: Lake) -> None:
    lake.capture("order_items", *(row for story in STORIES for row in told(story, 0)))
    lake.run("order_items", batch=1)
    before = lake.snapshots()
    lake.run("order_items", batch=1)  # a second run of the batch
    lake.run("order_items", batch=2, published=1)  # an empty increment
    assert lake.snapshots() == before == {"stg_order_items": 1, "quarantine": 1, "entity_accounts": 1}


def test_only_touched_partitions_are_read(lake: Lake) -> None:
    """A single key touches one bucket."""
    lake.capture("order_items", *(version(batch=1, **item(str(number), 1)) for number in range(200)))
    lake.run("order_items", batch=1)
    lake.capture("order_items", version(batch=2, **item("7", 2)))
    found = silver.find(
        silver.Run(lake.spark, batch=2, published_batch=1, rebuild=False), ENTITIES["order_items"]
    )
    assert found
    scan = lake.spark.table(found.entity.table).where(found.bounds)
    assert scan.select("_partition").distinct().count() == 1


def test_runs_cut_off_are_finished_by_the_next(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run finds a part of the stories more, and is cut off before or after a step; none publishes."""

    def capture(part: int) -> None:
        lake.capture("order_items", *(row for story in STORIES[part::6] for row in told(story, 1)))

    lake.capture("order_items", *(row for story in STORIES for row in told(story, 0)))
    lake.run("order_items", batch=1)
    cuts = itertools.product(["write_quarantine", "write_entity", "write_accounts"], ["before", "after"])
    for part, (step, moment) in enumerate(cuts):
        write = getattr(silver, step)

        def cut_off(*arguments: Any, write: Any = write, moment: str = moment) -> None:
            if moment == "after":
                write(*arguments)
            raise KeyError("cut off")

        capture(part)
        with monkeypatch.context() as patch, pytest.raises((KeyError, silver.SilverError), match="cut off"):
            patch.setattr(silver, step, cut_off)
            lake.run("order_items", batch=2, published=1)
    lake.run("order_items", batch=3, published=1)
    before = lake.snapshots()
    lake.run("order_items", batch=4, rebuild=True)
    assert lake.snapshots() == before | {"entity_accounts": before["entity_accounts"] + 1}


def test_rank_told_by_a_run_that_was_cut_off_is_told_anew(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other spelling of a rejected key is deleted, which only the quarantine hears of, and comes back."""
    rank = ("quarantine", "superseded", "contains(key, '\"a\"')")
    lake.capture("order_items", version(batch=1, **item("a", 1, BAD)), version(batch=1, **item(" a", 2)))
    lake.run("order_items", batch=1)
    assert lake.rows(*rank) == [(True,)]
    lake.capture("order_items", version(batch=2, **item(" a", 2, op="delete")))

    def cut_off(*arguments: Any) -> None:
        raise KeyError("cut off")

    with monkeypatch.context() as patch, pytest.raises(silver.SilverError, match="cut off"):
        patch.setattr(silver, "write_entity", cut_off)
        lake.run("order_items", batch=2, published=1)
    assert lake.rows(*rank) == [(False,)]
    lake.capture("order_items", version(batch=3, **item(" a", 3)))
    lake.run("order_items", batch=3, published=1)
    assert lake.rows(*rank) == [(True,)]


def test_entities_side_by_side_and_a_rebuild_of_some(lake: Lake, spark: SparkSession) -> None:
    lake.capture("order_items", version(batch=1, **item("a", 1, BAD)))
    states = {"s": "XX", "t": "SP", "u": "RJ"}
    lake.capture(
        "sellers",
        *(version(1, 1, seller_id=seller, seller_state=state) for seller, state in states.items()),
    )
    lake.capture("products", version(1, 1, product_id="p", product_weight_g="1.5"))
    lake.run("order_items", "sellers", "products", batch=1)
    assert lake.rows("entity_accounts", "entity, read") == [
        ("order_items", 1),
        ("products", 1),
        ("sellers", 3),
    ]
    assert lake.rows("quarantine", "entity") == [("order_items",), ("sellers",)]
    assert lake.snapshots() == {
        "entity_accounts": 1, "quarantine": 1, "stg_order_items": 1, "stg_products": 1, "stg_sellers": 1,
    }  # fmt: skip
    # A rebuild forgets what bronze does not hold, and touches nothing else.
    spark.sql("delete from lake.bronze.sellers where seller_id in ('s', 'u')")
    spark.sql("delete from lake.bronze.order_items")
    lake.run("sellers", batch=2, published=1, rebuild=True)
    assert lake.rows("quarantine", "entity, _batch") == [("order_items", 1)]
    assert lake.rows("stg_sellers", "seller_id, _batch") == [("t", 1)]
    lake.run("order_items", "products", batch=3, published=1, rebuild=True)
    assert lake.rows("stg_order_items") == lake.rows("quarantine") == []
    assert lake.rows("stg_products", "product_id, _batch") == [("p", 1)]


def test_a_table_that_was_lost_is_made_again_whole(lake: Lake, spark: SparkSession) -> None:
    lake.capture("order_items", version(batch=1, **item("a", 1)))
    lake.run("order_items", batch=1)
    spark.sql("drop table lake.silver.stg_order_items")
    lake.run("order_items", batch=2, published=1)
    assert lake.rows("stg_order_items", "order_id, _state") == [("a", "current")]


def test_an_entity_without_a_usable_key_is_read_once(lake: Lake) -> None:
    lake.capture("order_items", version(batch=1, **item(None, 1)))
    lake.run("order_items", batch=1)
    lake.capture("order_items", version(batch=2, **item(None, 2)))
    lake.run("order_items", batch=2, published=1)
    assert lake.rows("stg_order_items") == []
    assert lake.rows("entity_accounts", "batch, read, quarantined") == [(1, 1, 1), (2, 1, 1)]


def test_a_missing_table_is_named(lake: Lake) -> None:
    lake.capture("order_items", version(batch=1, **item("a", 1)))
    with pytest.raises(silver.SilverError, match=r"sellers: lake\.bronze\.sellers does not exist"):
        lake.run("order_items", "sellers", batch=1)
    assert lake.rows("stg_order_items") == []


def test_a_missing_column_is_named(lake: Lake, spark: SparkSession) -> None:
    lake.capture("order_items", version(batch=1, **item("a", 1)))
    spark.sql("alter table lake.bronze.order_items drop column seller_id")
    with pytest.raises(silver.SilverError, match=r"order_items: .* lacks .* seller_id"):
        lake.run("order_items", batch=1)


def test_schemas_may_grow(lake: Lake, spark: SparkSession) -> None:
    """A column that bronze gained stays out of silver, one that silver has beyond its declaration is left alone."""
    lake.capture("order_items", version(batch=1, **item("a", 1)), version(batch=1, **item("b", 1)))
    lake.run("order_items", batch=1)
    spark.sql("alter table lake.bronze.order_items add column `colour.of` string")
    spark.sql("alter table lake.silver.stg_order_items add column note string")
    spark.sql("alter table lake.silver.stg_order_items drop column seller_id")
    spark.sql("update lake.silver.stg_order_items set note = 'kept'")
    spark.sql(
        "insert into lake.bronze.order_items select order_id, order_item_id, product_id, seller_id,"
        " shipping_limit_date, '-2', freight_value, updated_at + interval 1 second, _op, 'x', _extracted_at, 2, 'red'"
        " from lake.bronze.order_items where order_id = 'a'"
    )
    lake.run("order_items", batch=2, published=1)
    assert lake.rows("stg_order_items", "order_id, _state, note, seller_id") == [
        ("a", "rejected", "kept", None),
        ("b", "current", "kept", None),
    ]
    assert '"colour.of":"red"' in lake.rows("quarantine", "row")[0][0]
    lake.run("order_items", batch=3, published=2, rebuild=True)
    assert lake.rows("stg_order_items", "order_id, _state, note") == [
        ("a", "rejected", "kept"),
        ("b", "current", "kept"),
    ]


def test_any_order_of_versions_ends_as_a_rebuild_does(lake: Lake) -> None:
    """The versions of 40 keys, in up to six spellings each, reach bronze in batches at random, some unpublished."""
    draw = random.Random(7)
    versions: dict[tuple[Any, ...], Values] = {}
    for number in range(40):
        spellings = list(itertools.product((f"o{number}", f" o{number}"), ("1", "01", None)))
        for order, position in draw.choices(spellings, k=draw.randint(1, 8)):
            op = draw.choice(["upsert", "upsert", "delete"])
            row = version(
                batch=draw.randint(1, 4),
                extracted=draw.randrange(100),
                **item(order, draw.randrange(6), draw.choice(["1", "2", BAD]), position, op),
            )
            # Bronze holds each version once.
            versions[order, position, row["updated_at"], op, row["_hash"]] = row
    for batch, published in ((1, 0), (2, 1), (3, 1), (4, 2)):
        lake.capture("order_items", *(row for row in versions.values() if row["_batch"] == batch))
        lake.run("order_items", batch=batch, published=published)

    current = lake.rows(
        "stg_order_items", "order_id, order_item_id, cast(price as string)", "_state = 'current'"
    )
    assert {(order, position): price for order, position, price in current} == shown(list(versions.values()))
    assert len(current) == len({(order, position) for order, position, _ in current}) > 10
    rejected = [row for row in versions.values() if row["_op"] == "upsert" and is_bad(row)]
    assert len(lake.rows("quarantine")) == len(rejected)
    for read, *parts in lake.rows("entity_accounts", "read, current, deleted, superseded, quarantined"):
        assert read == sum(parts)

    found = lake.rows("stg_order_items", SILVER), lake.rows("quarantine", QUARANTINE)
    lake.spark.sql("truncate table lake.silver.stg_order_items")
    lake.spark.sql("truncate table lake.silver.quarantine")
    lake.run("order_items", batch=9, published=8, rebuild=True)
    assert (lake.rows("stg_order_items", SILVER), lake.rows("quarantine", QUARANTINE)) == found


def is_bad(row: Values) -> bool:
    """Return whether an upsert breaks a rule."""
    return row["price"] == BAD or row["order_item_id"] is None


def shown(captured: list[Values]) -> dict[tuple[str, int], str]:
    """Return the price of each accepted key: that of its latest version, if that one breaks no rule."""

    def order(row: Values) -> tuple[Any, ...]:
        return row["updated_at"], row["_batch"], row["_op"] == "delete", row["_hash"]

    deciding: dict[tuple[str, str], Values] = {}
    for row in sorted(captured, key=order):
        if row["order_item_id"] is not None:
            deciding[row["order_id"], row["order_item_id"]] = row
    latest: dict[tuple[str, int], Values] = {}
    for row in sorted(deciding.values(), key=order):
        if row["_op"] == "upsert":
            latest[row["order_id"].strip(), int(row["order_item_id"])] = row
    return {key: f"{row['price']}.00" for key, row in latest.items() if row["price"] != BAD}
