"""Two small tables, as a project would declare them."""

from medallion_spark.entity import Entity
from medallion_spark.kinds import DECIMAL, DOUBLE, INTEGER, TEXT, TIMESTAMP

DEVICES = Entity(
    name="devices",
    key=("device_id",),
    # Names that need quotes: with a blank and a dot, and a word of SQL.
    columns={"device_id": TEXT, "serial no.": TEXT, "order": DECIMAL, "status": TEXT},
    also_required=("status",),
    rejects={"status": "status not in ('on', 'off')", "order": "`order` < 0"},
)
READINGS = Entity(
    name="readings",
    key=("device_id", "reading_id"),
    columns={
        "device_id": TEXT,
        "reading_id": INTEGER,
        "sensor": TEXT,
        "taken_at": TIMESTAMP,
        "value": DECIMAL,
        "latitude": DOUBLE,
    },
    also_required=("value",),
    rejects={"value": "value < 0", "latitude": "latitude not between -90 and 90"},
    flags={"from_the_future": "taken_at > timestamp '2100-01-01 00:00:00'"},
    bucketed_by="device_id",
)
ENTITIES = {entity.name: entity for entity in (DEVICES, READINGS)}
