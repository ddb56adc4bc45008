"""Declarations that contradict themselves, and how the project's are found."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import entities
from medallion_spark.entity import Entity, declared_entities
from medallion_spark.kinds import TEXT

EVENTS: dict[str, Any] = {"name": "events", "key": ("id",), "columns": {"id": TEXT, "at": TEXT}}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"key": ()}, "events has no key: name the columns that identify a row"),
        ({"key": ("nr",)}, "does not declare: nr"),
        ({"also_required": ("nr",), "rejects": {"mr": "true"}}, "does not declare: mr, nr"),
        ({"columns": {"id": TEXT, "_state": TEXT}}, "reserved names: _state"),
        ({"columns": {"id": TEXT, "_text_id": TEXT}}, "reserved names: _text_id"),
        ({"columns": {"id": TEXT, "At": TEXT}}, "write At in lower case"),
        ({"name": "Events"}, "write Events in lower case"),
        ({"bucketed_by": "at"}, "bucketed by at: choose a column of its key"),
        ({"buckets": 32}, "has 32 buckets"),
        ({"buckets": 0}, "has 0 buckets"),
    ],
)
def test_contradiction_is_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Entity(**EVENTS | changed)


def test_partitions_and_names() -> None:
    assert Entity(**EVENTS).partitioned_by is None
    assert Entity(**EVENTS, bucketed_by="id").partitioned_by == "bucket(4, `id`)"
    assert Entity(**EVENTS, bucketed_by="id", buckets=16).partitioned_by == "bucket(16, `id`)"
    assert Entity(**EVENTS).staging_name == "stg_events"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The project's package, without a module."""
    before = set(sys.modules)
    monkeypatch.setattr(entities, "__path__", [str(tmp_path)])
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def declare(package: Path, module: str, *names: str) -> None:
    declared = ", ".join(f'Entity("{name}", ("id",), {{"id": TEXT}})' for name in names)
    (package / f"{module}.py").write_text(
        "from medallion_spark.entity import Entity\nfrom medallion_spark.kinds import TEXT\n"
        f"ENTITIES = [{declared}]\n"
    )


def test_project_without_entities_has_none(package: Path) -> None:
    assert declared_entities() == {}


def test_entities_of_all_modules_are_found(package: Path) -> None:
    declare(package, "one", "events", "devices")
    declare(package, "two", "readings")
    assert list(declared_entities()) == ["events", "devices", "readings"]


def test_entity_that_is_declared_twice_is_named(package: Path) -> None:
    declare(package, "one", "events")
    declare(package, "two", "events")
    with pytest.raises(ValueError, match="Declare each entity once in include/spark_jobs/entities: events"):
        declared_entities()
