"""Declarations of entities, which Airflow passes to the Spark job as JSON."""

import json
from dataclasses import asdict
from typing import Any

import pytest

from medallion_spark.entity import Entity

from .fixtures import DEVICES, READINGS, entity

FIELDS: dict[str, Any] = asdict(READINGS)


def test_declaration_is_read_from_json() -> None:
    for declared in (DEVICES, READINGS):
        assert Entity.from_json(json.dumps(asdict(declared))) == declared


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "must be a JSON object with alias, bucketed_by"),
        (json.dumps({name: value for name, value in FIELDS.items() if name != "key"}), "must be a JSON object with"),
        (json.dumps(FIELDS | {"key": "device_id"}), "key of an entity has the wrong type: 'device_id'"),
        (json.dumps(FIELDS | {"columns": []}), "columns of an entity has the wrong type"),
        (json.dumps(FIELDS | {"buckets": "4"}), "buckets of an entity has the wrong type"),
        (json.dumps(FIELDS | {"bucketed_by": 1}), "bucketed_by of an entity has the wrong type"),
    ],
)  # fmt: skip
def test_declaration_that_cannot_be_used_is_explained(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Entity.from_json(text)


def test_partitions() -> None:
    assert entity("events", ["id"], {"id": "text"}).partitioned_by is None
    assert entity("events", ["id"], {"id": "text"}, bucketed_by="id").partitioned_by == "bucket(4, `id`)"
