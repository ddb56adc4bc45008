"""Tables, models and tasks, as the package reads them from the manifests of the dbt project."""

from typing import Any

import pytest

from medallion.project.manifest import (
    ManifestError,
    SourceTable,
    build_tasks,
    entities,
    manifest,
    model_tables,
    schemas,
    sort_orders,
    source_tables,
)

from ..conftest import Models


def bronze_model(name: str, *sources: str, **meta: Any) -> dict[str, Any]:
    return {
        "name": name,
        "config": {"meta": {"natural_key": ["id"]} | meta},
        "resource_type": "model",
        "schema": "bronze",
        "original_file_path": f"models/bronze/{name}.sql",
        "depends_on": {"nodes": [*sources]},
    }


def source(schema: str, identifier: str, cursor: str | None = "updated_at", **meta: str) -> dict[str, Any]:
    return {
        "meta": meta,
        "schema": schema,
        "identifier": identifier,
        "loaded_at_field": cursor,
        "source_name": "plant",
        "name": identifier,
        "original_file_path": f"models/bronze/{identifier}.yml",
    }


def test_source_tables_are_those_of_the_bronze_models() -> None:
    assert source_tables() == [
        SourceTable("devices", "plant", "devices", "updated_at", ("device_id",)),
        SourceTable("readings", "plant", "Reading Log", "updated_at", ("reading_id",)),
    ]


def test_tables_of_one_name_in_two_schemas_are_two_tables(declare: Models) -> None:
    declare(
        {
            "nodes": {
                "1": bronze_model("office_devices", "source.office.devices"),
                "2": bronze_model("devices", "source.plant.devices"),
            },
            "sources": {
                "source.plant.devices": source("plant", "devices", "updated_at"),
                "source.office.devices": source("office", "devices", "updated_at"),
            },
        }
    )
    assert source_tables() == [
        SourceTable("devices", "plant", "devices", "updated_at", ("id",)),
        SourceTable("office_devices", "office", "devices", "updated_at", ("id",)),
    ]


def test_columns_that_are_left_out_or_hashed_are_named_in_the_meta_of_the_model(declare: Models) -> None:
    declare(
        {
            "nodes": {
                "1": bronze_model("log", "source.x.log", leave_out=["Notes"], hash=["E Mail", "phone"])
            },
            "sources": {"source.x.log": source("x", "log")},
        }
    )
    [table] = source_tables()
    assert (table.key, table.left_out, table.hashed) == (("id",), ("Notes",), ("E Mail", "phone"))


def test_names_that_must_be_quoted_are_those_of_the_source(declare: Models) -> None:
    declare(
        {
            "nodes": {"1": bronze_model("log", "source.x.log")},
            "sources": {"source.x.log": source('My "Schema"', "Reading Log")},
        }
    )
    assert [(table.schema, table.name) for table in source_tables()] == [('My "Schema"', "Reading Log")]


@pytest.mark.parametrize(
    ("cursor", "zone", "capture", "expected"),
    [
        ("Last Change", {"cursor_zone": "Europe/Berlin"}, {}, ("Last Change", "Europe/Berlin", "window")),
        ("created_at", {}, {"capture": "full"}, ("created_at", "UTC", "full")),
        (None, {}, {}, (None, "UTC", "full")),
        (None, {}, {"capture": "daily"}, (None, "UTC", "daily")),
    ],
)
def test_cursor_and_capture_are_those_that_are_declared(
    declare: Models,
    cursor: str | None,
    zone: dict[str, str],
    capture: dict[str, str],
    expected: tuple[str | None, str, str],
) -> None:
    declare(
        {
            "nodes": {"1": bronze_model("devices", "source.plant.devices", **capture)},
            "sources": {"source.plant.devices": source("plant", "devices", cursor, **zone)},
        }
    )
    [table] = source_tables()
    assert (table.cursor, table.zone, table.capture) == expected


def test_unknown_capture_is_refused(declare: Models) -> None:
    declare(
        {
            "nodes": {"1": bronze_model("devices", "source.plant.devices", capture="weekly")},
            "sources": {"source.plant.devices": source("plant", "devices")},
        }
    )
    with pytest.raises(ManifestError, match=r"devices\.sql: capture is 'weekly'. It may be full"):
        source_tables()


@pytest.mark.parametrize(
    ("parents", "count"),
    [([], 0), (["model.medallion.other"], 0), (["source.plant.devices", "source.plant.readings"], 2)],
    ids=["nothing", "a model", "two sources"],
)
def test_bronze_model_of_no_or_two_sources_is_refused(
    declare: Models, parents: list[str], count: int
) -> None:
    sources = {f"source.plant.{name}": source("plant", name) for name in ("devices", "readings")}
    declare({"nodes": {"1": bronze_model("devices", *parents)}, "sources": sources})
    with pytest.raises(ManifestError, match=rf"models/bronze/devices\.sql: .* this one from {count}\. Write"):
        source_tables()


def test_source_table_without_a_model_is_not_captured(declare: Models) -> None:
    declare({"nodes": {}, "sources": {"source.plant.devices": source("plant", "devices")}})
    assert source_tables() == []


def test_missing_manifest_is_an_error_that_says_what_to_do(declare: Models) -> None:
    with pytest.raises(
        ManifestError, match=r"trino/manifest\.json is missing: build it with `make manifest`"
    ):
        manifest()


def test_entities_are_named_like_their_bronze_tables() -> None:
    assert entities() == ["devices", "readings"]


def test_each_model_but_the_entities_has_a_task() -> None:
    assert build_tasks() == {
        "bronze.devices": "bronze.devices",
        "bronze.readings": "bronze.readings",
        "silver.fact_readings": "silver_marts.fact_readings",
        "gold.devices_by_site": "gold.devices_by_site",
        "gold.readings_by_day": "gold.readings_by_day",
        "gold.readings_by_device_month": "gold.readings_by_device_month",
    }
    assert model_tables() == build_tasks().keys() | {"silver.stg_devices", "silver.stg_readings"}


def test_schema_of_each_model_is_its_layer() -> None:
    assert {schemas()[name] for name in ("devices", "stg_devices", "fact_readings", "readings_by_day")} == {
        "bronze", "silver", "gold"
    }  # fmt: skip


def test_sort_order_is_that_of_the_model() -> None:
    assert sort_orders() == {"silver.fact_readings": ["read_at", "device_id"]}
