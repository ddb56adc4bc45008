"""Silver staging, quarantine and accounts after runs, whatever the order in which versions arrive.

A story is the sequence of versions of one device, whose id is the story's name. A chapter of it has the versions of one
batch. All stories run at the same time: run 1 captures the first chapter of each, run 2 the second, and so on.
"""

import itertools
import random
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import SparkSession

from medallion_spark import update
from medallion_spark.entity import CHANGED_AT
from medallion_spark.update import EntityError, find_touched, read_versions
from medallion_spark.versions import staging_columns
from support.lake import Lake, Values, version

from .fixtures import READINGS

SILVER = (
    f"_raw_key, _state, value, _rules, _hash, _version_batch, _first_extracted_at, _flags, _op, {CHANGED_AT}"
)
QUARANTINE = f"entity, key, {CHANGED_AT}, rules, row, superseded, _hash, _op, _version_batch"
BAD = "-1"


def reading(
    name: str | None, at: int, value: str = "1", number: str | None = "1", op: str = "upsert"
) -> Values:
    """Return a version of a reading, changed at second `at`, without its batch."""
    return {
        "at": at,
        "op": op,
        "device_id": name,
        "reading_id": number,
        "value": value,
    }


@dataclass
class Story:
    """Versions of a device's readings, and the expected rows.

    chapters: for each batch, its versions as (at, value, number, op). results: for each batch, the rows of silver after
    it: number of the reading -> its value, or its state if it is not current. rejected: the versions in quarantine
    after the last batch, as (number, at, superseded).
    """

    name: str
    chapters: list[list[tuple[Any, ...]]]
    results: list[dict[str, str]]
    rejected: list[tuple[str, int, bool]]


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

# Published batch at the start of each run. The second run does not publish, so the third reads its versions again.
PUBLISHED = [0, 1, 1]


def list_rows(story: Story, chapter: int) -> list[Values]:
    """Return the bronze rows of a chapter."""
    rows = []
    for at, *rest in story.chapters[chapter]:
        rows.append(version(batch=chapter + 1, **reading(story.name, at, *rest)))
    return rows


@pytest.fixture(scope="module")
def pages(module_lake: Lake) -> list[dict[str, dict[str, str]]]:
    """Run all stories. Return for each chapter: story -> number of the reading, as written -> its value or state."""
    chapters = []
    for chapter, published in enumerate(PUBLISHED):
        module_lake.capture("readings", *(row for story in STORIES for row in list_rows(story, chapter)))
        module_lake.run("readings", batch=chapter + 1, published=published)
        rows: dict[str, dict[str, str]] = {}
        for name, number, state, value in module_lake.rows(
            "stg_readings", "device_id, get_json_object(_raw_key, '$[1]'), _state, cast(value as int)"
        ):
            rows.setdefault(name, {})[number] = str(value) if state == "current" else state
        chapters.append(rows)
    return chapters


@pytest.mark.parametrize("story", STORIES, ids=[story.name for story in STORIES])
def test_story(pages: list[dict[str, dict[str, str]]], module_lake: Lake, story: Story) -> None:
    assert [page.get(story.name, {}) for page in pages] == story.results
    quarantine = module_lake.rows(
        "quarantine",
        f"get_json_object(key, '$[1]'), unix_seconds({CHANGED_AT}) - unix_seconds(timestamp '2018-01-01'), superseded",
        f"get_json_object(key, '$[0]') = '{story.name}'",
    )
    assert quarantine == sorted(story.rejected, key=repr)


def test_stories_end_as_a_rebuild_does(pages: Any, module_lake: Lake) -> None:
    before = module_lake.snapshots()
    module_lake.run("readings", batch=4, published=3, rebuild="silver")
    # The rebuild changed no row. It only added its own accounts.
    assert module_lake.snapshots() == before | {"entity_accounts": before["entity_accounts"] + 1}
    assert {batch for (batch,) in module_lake.rows("stg_readings", "_batch")} == {1, 2, 3}


def test_state_other_than_current_or_superseded_has_no_values(pages: Any, module_lake: Lake) -> None:
    where = "_state in ('rejected', 'deleted') and value is not null"
    assert module_lake.rows("stg_readings", "*", where) == []


def test_accounts_by_hand(lake: Lake) -> None:
    lake.capture(
        "readings",
        version(batch=1, **reading("a", 1)),
        version(batch=1, **reading("a", 2)),
        version(batch=1, **reading("b", 1)),
        version(batch=1, **reading("b", 1, op="delete")),
        version(batch=1, **reading("c", 1, BAD)),
        version(batch=1, **reading("d", 1)),
        version(batch=1, **reading("d", 2, BAD)),
        version(batch=1, **reading(None, 1)),
        version(batch=1, **reading("e", 1, number="x")),
        version(batch=1, **reading(None, 2, op="delete")),
    )
    lake.run("readings", batch=1)
    lake.capture("readings", version(batch=2, **reading("c", 2)), version(batch=2, **reading("a", 0)))
    lake.run("readings", batch=2, published=1)
    # batch, entity, read, current, deleted, superseded, quarantined, latest, rejected_latest, unparsable_latest
    assert lake.rows("entity_accounts") == [
        (1, "readings", 10, 1, 2, 3, 4, 5, 4, 0),
        (2, "readings", 2, 1, 0, 1, 0, 2, 0, 0),
    ]


def test_null_keys_stand_in_quarantine_each_for_itself(lake: Lake) -> None:
    lake.capture(
        "readings",
        version(batch=1, **reading(None, 1)),
        version(batch=1, **reading(None, 2)),
        version(batch=1, **reading("\u00a0", 2)),
        version(batch=1, **reading("a", 2, number=None)),
        version(batch=1, **reading("a", 2, number="x")),
        version(batch=1, **reading("a", 3, number="x")),
        version(batch=1, **reading(None, 4, op="delete")),
    )
    for batch in (1, 2):
        lake.run("readings", batch=batch)
        assert lake.rows("stg_readings") == []
        assert lake.rows("quarantine", "key, rules, superseded") == [
            ('["\u00a0","1"]', ["device_id_missing"], False),
            ('["a","x"]', ["reading_id_unparsable"], False),
            ('["a","x"]', ["reading_id_unparsable"], False),
            ('["a",null]', ["reading_id_missing"], False),
            ('[null,"1"]', ["device_id_missing"], False),
            ('[null,"1"]', ["device_id_missing"], False),
        ]


def test_details(lake: Lake, spark: SparkSession) -> None:
    """Cases that the stories do not contain. Each has its own device."""
    lake.capture(
        "readings",
        version(batch=1, **reading(" raw", 1, "1,5")),
        version(batch=1, digest="f", **reading("hash", 1, "6")),
        version(batch=1, digest="0", **reading("hash", 1, "7")),
        version(batch=1, extracted=50, **reading("first", 2)),
        *[version(batch=1, **reading("twice", 1)), version(batch=1, **reading("twice bad", 1, BAD))] * 2,
        version(batch=1, digest="1", **reading("stamped", 1, BAD)),
        version(batch=2, digest="2", **reading("stamped", 1, "2")),
    )
    lake.run("readings", batch=2)
    columns = "device_id, _state, value, _version_batch"
    # If versions have the same time and batch, the one with the higher hash decides. Equal versions give one row.
    assert lake.rows("stg_readings", columns, "device_id in ('hash', 'twice', 'twice bad', 'stamped')") == [
        ("hash", "current", Decimal("6.00"), 1),
        ("stamped", "current", Decimal("2.00"), 2),
        ("twice bad", "rejected", None, 1),
        ("twice", "current", Decimal("1.00"), 1),
    ]
    # Quarantine keeps the values of the row as the source had them.
    assert lake.rows("quarantine", "row, rules", "contains(key, 'raw')") == [
        (
            '{"device_id":" raw","reading_id":"1","value":"1,5"'
            f',"{CHANGED_AT}":"2018-01-01T00:00:01.000000Z"}}',
            ["value_unparsable"],
        )
    ]
    assert lake.rows("quarantine", "key, superseded", "contains(key, 'twice')") == [
        ('["twice bad","1"]', False)
    ]
    # If bronze has two equal versions, the second counts as superseded, or as quarantined if they break a rule.
    assert lake.rows("entity_accounts", "read, current, superseded, quarantined") == [(10, 4, 2, 4)]

    # A version whose batch in bronze became newer decides again. Silver keeps the earliest extraction time.
    spark.sql("update lake.bronze.readings set _batch = 3 where _hash = '1'")
    lake.capture(
        "readings",
        version(batch=3, extracted=40, **reading("first", 1)),
        version(batch=3, extracted=30, **reading(" first", 1)),
    )
    lake.run("readings", batch=3, published=2)
    assert lake.rows("stg_readings", columns, "device_id = 'stamped'") == [("stamped", "rejected", None, 3)]
    assert lake.rows("quarantine", "superseded, _version_batch", "contains(key, 'stamped')") == [(False, 3)]
    seconds = (
        "unix_seconds(_first_extracted_at) - unix_seconds(timestamp '2018-01-02'), _version_batch, _batch"
    )
    assert lake.rows("stg_readings", f"_state, {seconds}", "device_id = 'first'") == [
        ("current", 30, 1, 3),
        ("superseded", 30, 3, 3),
    ]

    spark.sql("update lake.bronze.readings set _batch = 4 where _hash = '2'")
    lake.run("readings", batch=4, published=3)
    assert lake.rows("stg_readings", columns, "device_id = 'stamped'") == [
        ("stamped", "current", Decimal("2.00"), 4)
    ]
    assert lake.rows("quarantine", "superseded, _version_batch", "contains(key, 'stamped')") == [(True, 3)]


def test_nothing_new_commits_nothing(lake: Lake) -> None:
    lake.capture("readings", *(row for story in STORIES for row in list_rows(story, 0)))
    lake.run("readings", batch=1)
    before = lake.snapshots()
    lake.run("readings", batch=1)  # a second run of the batch
    lake.run("readings", batch=2, published=1)  # a run without new versions
    assert lake.snapshots() == before == {"stg_readings": 1, "quarantine": 1, "entity_accounts": 1}


def test_only_touched_partitions_are_read(lake: Lake) -> None:
    """A run with new versions of one key reads only the bucket of this key in silver."""
    lake.capture("readings", *(version(batch=1, **reading(str(number), 1)) for number in range(200)))
    lake.run("readings", batch=1)
    lake.capture("readings", version(batch=2, **reading("7", 2)))
    run = lake.run_of(batch=2, published=1)
    touched = find_touched(run, [read_versions(run, READINGS)])["readings"]
    assert touched.versions == 1
    scan = lake.spark.table(run.staging_table(READINGS)).where(touched.bounds)
    assert scan.select("_partition").distinct().count() == 1


def test_runs_cut_off_are_finished_by_the_next(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several runs capture a part of the stories each, and stop before or after a step. None of them publishes."""

    def capture(part: int) -> None:
        lake.capture("readings", *(row for story in STORIES[part::6] for row in list_rows(story, 1)))

    lake.capture("readings", *(row for story in STORIES for row in list_rows(story, 0)))
    lake.run("readings", batch=1)
    cuts = itertools.product(["write_quarantine", "write_entity", "write_accounts"], ["before", "after"])
    for part, (step, moment) in enumerate(cuts):
        write = getattr(update, step)

        def cut_off(*arguments: Any, write: Any = write, moment: str = moment) -> None:
            if moment == "after":
                write(*arguments)
            raise KeyError("cut off")

        capture(part)
        with monkeypatch.context() as patch, pytest.raises((KeyError, EntityError), match="cut off"):
            patch.setattr(update, step, cut_off)
            lake.run("readings", batch=2, published=1)
    lake.run("readings", batch=3, published=1)
    before = lake.snapshots()
    lake.run("readings", batch=4, rebuild="silver")
    assert lake.snapshots() == before | {"entity_accounts": before["entity_accounts"] + 1}


def test_rank_that_a_cut_off_run_recorded_is_recorded_again(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rejected version is superseded by another spelling of its key, which is deleted and then comes back.

    The run with the delete writes only the quarantine before it is cut off. The next run must correct it.
    """
    rank = ("quarantine", "superseded", "contains(key, '\"a\"')")
    lake.capture("readings", version(batch=1, **reading("a", 1, BAD)), version(batch=1, **reading(" a", 2)))
    lake.run("readings", batch=1)
    assert lake.rows(*rank) == [(True,)]
    lake.capture("readings", version(batch=2, **reading(" a", 2, op="delete")))

    def cut_off(*arguments: Any) -> None:
        raise KeyError("cut off")

    with monkeypatch.context() as patch, pytest.raises(EntityError, match="cut off"):
        patch.setattr(update, "write_entity", cut_off)
        lake.run("readings", batch=2, published=1)
    assert lake.rows(*rank) == [(False,)]
    lake.capture("readings", version(batch=3, **reading(" a", 3)))
    lake.run("readings", batch=3, published=1)
    assert lake.rows(*rank) == [(True,)]


def test_entities_side_by_side_and_a_rebuild_of_some(lake: Lake, spark: SparkSession) -> None:
    lake.capture("readings", version(batch=1, **reading("a", 1, BAD)))
    states = {"s": "broken", "t": "on", "u": "off"}
    lake.capture(
        "devices",
        *(
            version(1, 1, device_id=device, status=status, **{"serial no.": f"{device} 1", "order": "1.5"})
            for device, status in states.items()
        ),
    )
    lake.run("readings", "devices", batch=1)
    assert lake.rows("entity_accounts", "entity, read") == [("devices", 3), ("readings", 1)]
    assert lake.rows("quarantine", "entity") == [("devices",), ("readings",)]
    assert lake.snapshots() == {
        "entity_accounts": 1, "quarantine": 1, "stg_readings": 1, "stg_devices": 1
    }  # fmt: skip
    # A rebuild deletes rows of its entities that have no versions in bronze, and does not change other entities.
    spark.sql("delete from lake.bronze.devices where device_id in ('s', 'u')")
    spark.sql("delete from lake.bronze.readings")
    lake.run("devices", batch=2, published=1, rebuild="silver")
    assert lake.rows("quarantine", "entity, _batch") == [("readings", 1)]
    assert lake.rows("stg_devices", "device_id, `serial no.`, `order`, _batch") == [
        ("t", "t 1", Decimal("1.50"), 1)
    ]
    lake.run("readings", batch=3, published=1, rebuild="silver")
    assert lake.rows("stg_readings") == lake.rows("quarantine") == []
    assert lake.rows("stg_devices", "device_id, _batch") == [("t", 1)]


def test_entity_that_other_code_has_made_is_rebuilt_beside_others(lake: Lake) -> None:
    lake.capture("readings", version(batch=1, **reading("a", 1, BAD)), version(batch=1, **reading("b", 1)))
    lake.capture(
        "devices", version(1, 1, device_id="s", status="broken"), version(1, 1, device_id="t", status="on")
    )
    lake.run("readings", "devices", batch=1)
    # Empty the tables, as if the other code had neither rejected nor accepted any row.
    for table in ("quarantine", "stg_readings", "stg_devices"):
        lake.spark.sql(f"delete from lake.silver.{table}")
    lake.capture("devices", version(batch=2, at=2, device_id="u", status="broken"))
    lake.run("readings", "devices", batch=2, published=1, outdated=("readings",))
    assert lake.rows("quarantine", "entity, _batch") == [("devices", 2), ("readings", 2)]
    assert lake.rows("stg_readings", "_state, _batch") == [("current", 2), ("rejected", 2)]
    # All versions of the outdated entity `readings` were read, but only the new one of `devices`.
    assert lake.rows("entity_accounts", "batch, entity, read") == [
        (1, "devices", 2), (1, "readings", 2), (2, "devices", 1), (2, "readings", 2)
    ]  # fmt: skip


def test_names_that_need_quotes_are_merged_and_counted(lake: Lake) -> None:
    def device(at: int, batch: int, serial: str, order: str) -> Values:
        return version(at, batch, device_id="a", status="on", **{"serial no.": serial, "order": order})

    lake.capture("devices", device(1, 1, "one", "1"))
    lake.run("devices", batch=1)
    lake.capture("devices", device(2, 2, "two", "-1"))
    lake.run("devices", batch=2, published=1)
    assert lake.rows("stg_devices", "_state, `serial no.`, _rules") == [("rejected", None, ["order_invalid"])]
    lake.capture("devices", device(3, 3, "three", "much"))
    lake.run("devices", batch=3, published=2)
    assert lake.rows("stg_devices", "_state, `serial no.`, `order`, _flags") == [
        ("current", "three", None, ["unparsable_order"])
    ]
    # An unparsable value counts in a run in which its version decides.
    assert lake.rows("entity_accounts", "batch, unparsable_latest") == [(1, 0), (2, 0), (3, 1)]


def test_a_table_that_was_lost_is_made_again_whole(lake: Lake, spark: SparkSession) -> None:
    lake.capture("readings", version(batch=1, **reading("a", 1)))
    lake.run("readings", batch=1)
    spark.sql("drop table lake.silver.stg_readings")
    lake.run("readings", batch=2, published=1)
    assert lake.rows("stg_readings", "device_id, _state") == [("a", "current")]


def test_an_entity_without_a_usable_key_is_read_once(lake: Lake) -> None:
    lake.capture("readings", version(batch=1, **reading(None, 1)))
    lake.run("readings", batch=1)
    lake.capture("readings", version(batch=2, **reading(None, 2)))
    lake.run("readings", batch=2, published=1)
    assert lake.rows("stg_readings") == []
    assert lake.rows("entity_accounts", "batch, read, quarantined") == [(1, 1, 1), (2, 1, 1)]


def test_a_missing_table_is_named(lake: Lake) -> None:
    lake.capture("readings", version(batch=1, **reading("a", 1)))
    with pytest.raises(EntityError, match=r"devices: lake\.bronze\.devices does not exist"):
        lake.run("readings", "devices", batch=1)
    assert lake.rows("stg_readings") == []


def test_a_missing_column_is_named(lake: Lake, spark: SparkSession) -> None:
    lake.capture("readings", version(batch=1, **reading("a", 1)))
    spark.sql("alter table lake.bronze.readings drop column sensor")
    with pytest.raises(EntityError, match=r"readings: .* lacks sensor"):
        lake.run("readings", batch=1)


def test_new_column_of_bronze_stays_out_of_silver(lake: Lake, spark: SparkSession) -> None:
    lake.capture("readings", version(batch=1, **reading("a", 1)))
    lake.run("readings", batch=1)
    spark.sql("alter table lake.bronze.readings add column `colour.of` string")
    spark.sql(
        "insert into lake.bronze.readings select device_id, reading_id, sensor, taken_at, '-2', latitude, _unkept,"
        f" {CHANGED_AT} + interval 1 second, _op, 'x', _extracted_at, 2, 'red' from lake.bronze.readings"
    )
    lake.run("readings", batch=2, published=1)
    assert lake.rows("stg_readings", "device_id, _state") == [("a", "rejected")]
    assert '"colour.of":"red"' in lake.rows("quarantine", "row")[0][0]


def accepted(lake: Lake, columns: str) -> list[Any]:
    """Return columns of the current readings."""
    return lake.rows("stg_readings", columns, "_state = 'current'")


def capture_scales(lake: Lake) -> None:
    """Capture readings with up to three decimal places, and build the table, which takes at most two."""
    values = {"a": "0.125", "b": "0.25", "c": "3"}
    lake.capture("readings", *(version(batch=1, **reading(name, 1, value)) for name, value in values.items()))
    lake.run("readings", batch=1)
    assert accepted(lake, "device_id, value") == [("b", Decimal("0.25")), ("c", Decimal("3.00"))]


def declare(lake: Lake, **changes: Any) -> None:
    """Replace fields in the declaration of the readings."""
    lake.entities = {"readings": replace(READINGS, **changes)}


def test_other_scale_replaces_the_table(lake: Lake) -> None:
    """The new scale can hold 0.125, so the rejected row must be accepted with its exact value.

    An hourly run does this even without new rows: it reads all of bronze.
    """
    capture_scales(lake)
    snapshots = lake.spark.table("lake.silver.stg_readings.snapshots").count()
    declare(lake, columns=dict(READINGS.columns) | {"value": "decimal(9,4)"})
    lake.run("readings", batch=2, published=1)
    assert lake.rows("stg_readings", "device_id, value, _batch") == [
        ("a", Decimal("0.1250"), 2),
        ("b", Decimal("0.2500"), 2),
        ("c", Decimal("3.0000"), 2),
    ]
    assert lake.rows("quarantine") == []
    # The new table keeps the earlier snapshots, the comments, the properties and the partitions.
    assert lake.spark.table("lake.silver.stg_readings.snapshots").count() == snapshots + 1
    described = {
        row.col_name: row.comment for row in lake.spark.sql("describe lake.silver.stg_readings").collect()
    }
    assert (described["value"], described["_state"][:7]) == ("It's the value.", "current")
    properties = lake.spark.sql("show tblproperties lake.silver.stg_readings").collect()
    assert {"write.merge.mode", "medallion.identity"} <= {row.key for row in properties}
    assert lake.spark.table("lake.silver.stg_readings.partitions").count() > 1
    before = lake.snapshots()
    lake.run("readings", batch=3, published=2)
    assert lake.snapshots() == before


def test_wider_decimal_changes_no_row(lake: Lake) -> None:
    capture_scales(lake)
    declare(lake, columns=dict(READINGS.columns) | {"value": "decimal(20,2)"})
    lake.run("readings", batch=2, published=1)
    assert dict(lake.spark.table("lake.silver.stg_readings").dtypes)["value"] == "decimal(20,2)"
    assert {batch for (batch,) in lake.rows("stg_readings", "_batch")} == {1}


@pytest.mark.parametrize(
    ("changes", "columns", "rows"),
    [
        (
            {"columns": dict(READINGS.columns) | {"value": "text"}, "checks": {}},
            "device_id, value",
            [("a", "0.125"), ("b", "0.25"), ("c", "3")],
        ),
        ({"columns": {n: t for n, t in READINGS.columns.items() if n != "sensor"}}, "device_id", [("b",), ("c",)]),
        ({"key": ["device_id"], "natural_key": ["device_id"]}, "_raw_key", [('["b"]',), ('["c"]',)]),
        ({"buckets": 2}, "device_id", [("b",), ("c",)]),
        (
            {
                "columns": dict(READINGS.columns) | {"double": "decimal(9,1)"},
                "descriptions": dict(READINGS.descriptions) | {"double": "Twice."},
                "projection": READINGS.projection + ", cast(value as decimal(9,3)) * 2 as double",
                "reads": dict(READINGS.reads) | {"double": ["value"]},
            },
            "device_id, double",
            [("b", Decimal("0.5")), ("c", Decimal("6.0"))],
        ),
    ],
    ids=["type", "column left", "key", "partitions", "column added"],
)  # fmt: skip
def test_declaration_that_changes_replaces_the_table(
    lake: Lake, changes: dict[str, Any], columns: str, rows: list[Any]
) -> None:
    capture_scales(lake)
    declare(lake, **changes)
    lake.run("readings", batch=2, published=1)
    assert accepted(lake, columns) == rows
    assert {batch for (batch,) in lake.rows("stg_readings", "_batch")} == {2}
    assert set(lake.spark.table("lake.silver.stg_readings").columns) == set(
        staging_columns(lake.entities["readings"])
    )


def test_run_that_is_cut_off_replaces_the_table_in_its_next_attempt(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture_scales(lake)
    declare(lake, columns=dict(READINGS.columns) | {"value": "text"}, checks={})

    def cut_off(*arguments: Any) -> None:
        raise KeyError("cut off")

    with monkeypatch.context() as patch, pytest.raises(EntityError, match="cut off"):
        patch.setattr(update, "write_entity", cut_off)
        lake.run("readings", batch=2, published=1)
    assert len(accepted(lake, "device_id")) == 2
    lake.run("readings", batch=2, published=1)
    assert accepted(lake, "value") == [("0.125",), ("0.25",), ("3",)]


def test_select_that_returns_another_type_is_named(lake: Lake) -> None:
    lake.capture("readings", version(batch=1, **reading("a", 1)))
    declare(lake, projection=READINGS.projection.replace("`value`", "split(value, ',') as value"))
    with pytest.raises(EntityError, match=r"readings: stg_readings\.value: the select returns array<string>"):
        lake.run("readings", batch=1)


def test_any_order_of_versions_ends_as_a_rebuild_does(lake: Lake) -> None:
    """The versions of 40 keys, with up to six spellings each, are in random batches, and some runs do not publish."""
    draw = random.Random(7)
    versions: dict[tuple[Any, ...], Values] = {}
    for number in range(40):
        spellings = list(itertools.product((f"o{number}", f" o{number}"), ("1", "01", None)))
        for order, position in draw.choices(spellings, k=draw.randint(1, 8)):
            op = draw.choice(["upsert", "upsert", "delete"])
            row = version(
                batch=draw.randint(1, 4),
                extracted=draw.randrange(100),
                **reading(order, draw.randrange(6), draw.choice(["1", "2", BAD]), position, op),
            )
            # Bronze has each version only once, so an equal one replaces the earlier.
            versions[order, position, row[CHANGED_AT], op, row["_hash"]] = row
    for batch, published in ((1, 0), (2, 1), (3, 1), (4, 2)):
        lake.capture("readings", *(row for row in versions.values() if row["_batch"] == batch))
        lake.run("readings", batch=batch, published=published)

    current = lake.rows("stg_readings", "device_id, reading_id, cast(value as string)", "_state = 'current'")
    assert {(order, position): value for order, position, value in current} == accepted_values(
        list(versions.values())
    )
    assert len(current) == len({(order, position) for order, position, _ in current}) > 10
    rejected = [row for row in versions.values() if row["_op"] == "upsert" and is_bad(row)]
    assert len(lake.rows("quarantine")) == len(rejected)
    for read, *parts in lake.rows("entity_accounts", "read, current, deleted, superseded, quarantined"):
        assert read == sum(parts)

    before = lake.rows("stg_readings", SILVER), lake.rows("quarantine", QUARANTINE)
    lake.spark.sql("truncate table lake.silver.stg_readings")
    lake.spark.sql("truncate table lake.silver.quarantine")
    lake.run("readings", batch=9, published=8, rebuild="silver")
    assert (lake.rows("stg_readings", SILVER), lake.rows("quarantine", QUARANTINE)) == before


def is_bad(row: Values) -> bool:
    """Return whether an upsert breaks a rule."""
    return row["value"] == BAD or row["reading_id"] is None


def accepted_values(captured: list[Values]) -> dict[tuple[str, int], str]:
    """Return each accepted key with the value of its deciding version."""

    def order(row: Values) -> tuple[Any, ...]:
        return row[CHANGED_AT], row["_batch"], row["_op"] == "delete", row["_hash"]

    deciding: dict[tuple[str, str], Values] = {}
    for row in sorted(captured, key=order):
        if row["reading_id"] is not None:
            deciding[row["device_id"], row["reading_id"]] = row
    latest: dict[tuple[str, int], Values] = {}
    for row in sorted(deciding.values(), key=order):
        if row["_op"] == "upsert":
            latest[row["device_id"].strip(), int(row["reading_id"])] = row
    return {key: f"{row['value']}.00" for key, row in latest.items() if row["value"] != BAD}
