"""The rules that reject a row and those that flag it."""

from typing import Any

import pytest
from pyspark.sql import Row, SparkSession

from medallion_spark.entity import Entity
from medallion_spark.versions import convert_and_validate, select_versions

from .fixtures import DEVICES, READINGS
from .lake import bronze_frame, version

NBSP, ZERO_WIDTH = "\u00a0", "\u200b"

READING = {"device_id": "d", "reading_id": "1", "sensor": "s", "value": "0.10"}
DEVICE = {"device_id": "d", "status": "on"}
# An accepted row, what is changed of it, the rules that it breaks then, and its flags.
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
]  # fmt: skip


@pytest.fixture(scope="module")
def judged(spark: SparkSession) -> dict[int, Row]:
    """The cases as rows of `convert_and_validate`, by their number."""
    rows: dict[int, Row] = {}
    for entity in (DEVICES, READINGS):
        versions = [
            version(0, number, **row | changed)
            for number, (of, row, changed, _, _) in enumerate(CASES)
            if of is entity
        ]
        selected = select_versions(bronze_frame(spark, entity, versions), entity)
        validated = convert_and_validate(selected, entity).collect()
        rows |= {row._version_batch: row for row in validated}
    return rows


@pytest.mark.parametrize("number", range(len(CASES)), ids=[str(case[2]) for case in CASES])
def test_rules(judged: dict[int, Row], number: int) -> None:
    *_, rules, flags = CASES[number]
    assert (judged[number]._rules, judged[number]._flags) == (rules, flags)
