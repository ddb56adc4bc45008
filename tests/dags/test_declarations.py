"""The declarations of a table agree with each other: its source entry, its two models, and its entity."""

from typing import Any

import pytest

from medallion import names
from medallion.project import manifest
from medallion_spark.entity import Entity, declared_entities
from medallion_spark.versions import BRONZE_BOOKKEEPING, staging_columns

ENTITIES = declared_entities()
MODELS = {manifest.table_of(node): node for node in manifest.model_nodes()}
SOURCES = {table.model: table for table in manifest.source_tables()}

modelled = pytest.mark.parametrize(
    "entity", [pytest.param(ENTITIES[name], id=name) for name in manifest.entities() if name in ENTITIES]
)


def file_of(node: dict[str, Any]) -> str:
    """Return the file that describes a model."""
    return str(node["patch_path"] or node["original_file_path"]).replace("medallion://", "include/dbt/")


def bronze_model(name: str) -> dict[str, Any]:
    """Return a bronze model by its name."""
    return MODELS[names.lake_table(names.BRONZE, name)]


def listed(columns: Any) -> str:
    """Return columns as a message lists them."""
    return ", ".join(sorted(columns))


@pytest.mark.parametrize("model", sorted(SOURCES))
def test_source_declares_the_columns_of_its_bronze_model(model: str) -> None:
    source, node = SOURCES[model], bronze_model(model)
    undeclared = node["columns"].keys() - {name.lower() for name in source.columns} - {*BRONZE_BOOKKEEPING}
    assert not undeclared, (
        f"{file_of(node)} describes {listed(undeclared)}, which sources.yml does not declare for"
        f" {source.schema}.{source.name}"
    )
    missing = {*BRONZE_BOOKKEEPING, source.cursor.lower()} - node["columns"].keys()
    assert not missing, f"{file_of(node)} lacks {listed(missing)}, which every bronze model has"


def test_each_staging_model_has_an_entity() -> None:
    models, declared = set(manifest.entities()), set(ENTITIES)
    assert not models - declared, (
        f"no module of include/spark_jobs/entities declares {listed(models - declared)}, which models/silver has"
    )
    assert not declared - models, (
        f"models/silver/staging has no model of {listed(declared - models)}, which include/spark_jobs/entities declares"
    )


@modelled
def test_staging_model_describes_the_columns_of_its_entity(entity: Entity) -> None:
    node = MODELS[names.lake_table(names.SILVER, entity.staging_name)]
    described = node["columns"].keys()
    missing = entity.columns.keys() - described
    assert not missing, f"{file_of(node)} lacks {listed(missing)}, which the entity {entity.name} declares"
    unknown = described - staging_columns(entity).keys()
    assert not unknown, f"{file_of(node)} describes {listed(unknown)}, which the entity {entity.name} lacks"


@modelled
def test_entity_takes_its_columns_from_its_bronze_model(entity: Entity) -> None:
    node = bronze_model(entity.name)
    unknown = entity.columns.keys() - node["columns"].keys()
    assert not unknown, f"the entity {entity.name} declares {listed(unknown)}, which {file_of(node)} lacks"


@modelled
def test_entity_has_the_key_of_its_bronze_model(entity: Entity) -> None:
    node = bronze_model(entity.name)
    natural_key, key = node["config"]["meta"].get("natural_key"), list(entity.key)
    assert natural_key == key, (
        f"{file_of(node)} has the natural_key {natural_key}, and its entity the key {key}"
    )
