"""The declarations of two small entities."""

from collections.abc import Sequence
from typing import Any

from medallion_spark.entity import Entity
from medallion_spark.sql import quote


def entity(name: str, key: Sequence[str], columns: dict[str, str], **others: Any) -> Entity:
    """Return the declaration of an entity whose select only lists the columns."""
    fields: dict[str, Any] = {
        "natural_key": [*key],
        "descriptions": {column: f"It's the {column}." for column in columns},
        "projection": ", ".join(quote(column) for column in columns),
        "alias": name,
        "reads": {column: [column] for column in columns},
        "required": [],
        "checks": {},
        "flags": {},
        "bucketed_by": None,
        "buckets": 4,
        "staging_name": f"stg_{name}",
    }
    return Entity(name=name, key=[*key], columns=columns, **fields | others)


DEVICES = entity(
    "devices",
    ["device_id"],
    # Two names must be quoted: one has a blank and a dot, the other is an SQL keyword.
    {"device_id": "text", "serial no.": "text", "order": "decimal(18,2)", "status": "text"},
    required=["status"],
    checks={"status_invalid": "status in ('on', 'off')", "order_invalid": "`order` >= 0"},
)
READINGS = entity(
    "readings",
    ["device_id", "reading_id"],
    {
        "device_id": "text",
        "reading_id": "bigint",
        "sensor": "text",
        "taken_at": "timestamp",
        "value": "decimal(18,2)",
        "latitude": "double",
    },
    required=["value"],
    checks={"value_invalid": "value >= 0", "latitude_invalid": "latitude between -90 and 90"},
    flags={"from_the_future": "taken_at > timestamp '2100-01-01 00:00:00'"},
    bucketed_by="device_id",
)
ENTITIES = {entity.name: entity for entity in (DEVICES, READINGS)}
