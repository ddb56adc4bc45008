"""The rules that reject a row and those that flag it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession

from medallion_spark.entity import Entity
from medallion_spark.versions import check_columns, convert_and_validate, select_versions
from support.lake import bronze_frame, version

from .fixtures import DEVICES, READINGS, entity

NBSP, ZERO_WIDTH = "\u00a0", "\u200b"

READING = {"device_id": "d", "reading_id": "1", "sensor": "s", "value": "0.10"}
DEVICE = {"device_id": "d", "status": "on"}
# Entity, an accepted row of it, changed values, the rules that the changed row breaks, and its flags.
CASES: list[tuple[Entity, dict[str, Any], dict[str, Any], list[str], list[str]]] = [
    (READINGS, READING, {}, [], []),
    (READINGS, READING, {"device_id": None}, ["device_id_missing"], []),
    (READINGS, READING, {"device_id": NBSP + ZERO_WIDTH}, ["device_id_missing"], []),
    (READINGS, READING, {"reading_id": "1.0"}, ["reading_id_unparsable"], []),
    (READINGS, READING, {"value": None, "reading_id": ""}, ["reading_id_missing", "value_missing"], []),
    (READINGS, READING, {"value": "1,5"}, ["value_unparsable"], []),
    (READINGS, READING, {"value": "-0.01"}, ["value_invalid"], []),
    (READINGS, READING, {"latitude": "90.1"}, ["latitude_invalid"], []),
    (READINGS, READING, {"latitude": "north", "taken_at": "now"}, [], ["unparsable_latitude", "unparsable_taken_at"]),
    (READINGS, READING, {"taken_at": "2100-01-01 00:00:01"}, [], ["from_the_future"]),
    (READINGS, READING, {"taken_at": "2100-01-01 00:00:01", "value": "x"}, ["value_unparsable"], []),
    (READINGS, READING, {"sensor": None, "taken_at": " ", "latitude": ""}, [], []),
    (DEVICES, DEVICE, {"serial no.": "1.2"}, [], []),
    (DEVICES, DEVICE, {"status": "broken", "order": "-1"}, ["order_invalid", "status_invalid"], []),
    (DEVICES, DEVICE, {"status": " "}, ["status_missing"], []),
    (DEVICES, DEVICE, {"order": "first"}, [], ["unparsable_order"]),
    (DEVICES, DEVICE, {"_unkept": '{"serial no.": "infinity"}'}, [], ["unparsable_serial no."]),
    (READINGS, READING, {"_unkept": '{"taken_at": "-infinity", "of_no_column": "NaN"}'}, [], ["unparsable_taken_at"]),
    (READINGS, READING, {"_unkept": '{"value": "NaN"}', "value": None}, ["value_unparsable"], []),
]  # fmt: skip


@pytest.fixture(scope="module")
def judged(spark: SparkSession) -> dict[int, Row]:
    """Number of a case -> its row, as `convert_and_validate` returns it."""
    rows: dict[int, Row] = {}
    for declared in (DEVICES, READINGS):
        versions = [
            version(0, number, **row | changed)
            for number, (of, row, changed, _, _) in enumerate(CASES)
            if of is declared
        ]
        selected = select_versions(bronze_frame(spark, declared, versions), declared)
        validated = convert_and_validate(selected, declared).collect()
        rows |= {row._version_batch: row for row in validated}
    return rows


@pytest.mark.parametrize("number", range(len(CASES)), ids=[str(case[2]) for case in CASES])
def test_rules(judged: dict[int, Row], number: int) -> None:
    *_, rules, flags = CASES[number]
    assert (judged[number]._rules, judged[number]._flags) == (rules, flags)


LEASES = entity(
    "leases",
    ["id"],
    {"id": "text", "ends_on": "date", "is_open": "boolean", "as_text": "text", "note": "text"},
    projection="""id, coalesce(ends_on, date '2100-01-01') as ends_on, ends_on is null as is_open,
        coalesce(get_json_object(_unkept, '$.ends_on'), ends_on) as as_text, 'none' as note""",
    reads={
        "id": ["id"],
        "ends_on": ["ends_on"],
        "is_open": ["ends_on"],
        "as_text": ["_unkept", "ends_on"],
        "note": [],
    },
    required=["is_open"],
)


def test_value_that_bronze_could_not_keep_flags_what_is_computed_from_it(spark: SparkSession) -> None:
    rows = [
        version(0, 1, id="a", ends_on="2024-01-01"),
        version(0, 2, id="b", _unkept='{"ends_on": "infinity"}'),
    ]
    optional = replace(LEASES, required=[])
    frame = bronze_frame(spark, LEASES, rows)
    judged = {
        (row.id, row.as_text): (row._rules, row._flags)
        for row in convert_and_validate(select_versions(frame, optional), optional).collect()
    }
    # `as_text` gets no flag, because its expression reads the value from `_unkept`.
    assert judged == {
        ("a", "2024-01-01"): ([], []), ("b", "infinity"): ([], ["unparsable_ends_on", "unparsable_is_open"])
    }  # fmt: skip
    [_, rejected] = convert_and_validate(select_versions(frame, LEASES), LEASES).orderBy("id").collect()
    assert rejected._rules == ["is_open_unparsable"]
    assert json.loads(json.loads(rejected._row)["_unkept"]) == {"ends_on": "infinity"}


def test_bronze_of_an_earlier_release_has_kept_all_values(spark: SparkSession) -> None:
    bronze = bronze_frame(spark, LEASES, [version(0, 1, id="a")]).drop("_unkept")
    check_columns(bronze, "bronze.leases", LEASES)
    [row] = convert_and_validate(select_versions(bronze, LEASES), LEASES).collect()
    assert (row._rules, row._flags, row.is_open) == ([], [], True)
