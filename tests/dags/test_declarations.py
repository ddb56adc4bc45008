"""The declarations of a table agree with each other: its source entry and its two models."""

from typing import Any

import pytest

from medallion import names
from medallion.project import manifest
from medallion.project.declarations import declarations
from medallion_spark.entity import Entity
from medallion_spark.versions import BRONZE_BOOKKEEPING

MODELS = {manifest.table_of(node): node for node in manifest.model_nodes()}
SOURCES = {table.model: table for table in manifest.source_tables()}


def file_of(node: dict[str, Any]) -> str:
    """Return the file that describes a model."""
    return str(node["patch_path"] or node["original_file_path"]).replace("medallion://", "include/dbt/")


def listed(columns: Any) -> str:
    """Return columns as a message lists them."""
    return ", ".join(sorted(columns))


@pytest.mark.parametrize("model", sorted(SOURCES))
def test_source_declares_the_columns_of_its_bronze_model(model: str) -> None:
    source, node = SOURCES[model], MODELS[names.lake_table(names.BRONZE, model)]
    undeclared = node["columns"].keys() - {name.lower() for name in source.columns} - {*BRONZE_BOOKKEEPING}
    assert not undeclared, (
        f"{file_of(node)} describes {listed(undeclared)}, which sources.yml does not declare for"
        f" {source.schema}.{source.name}"
    )
    missing = {*BRONZE_BOOKKEEPING, source.cursor.lower()} - node["columns"].keys()
    assert not missing, f"{file_of(node)} lacks {listed(missing)}, which every bronze model has"


def test_each_staging_model_has_a_declaration_that_spark_can_read() -> None:
    declared = declarations()
    assert sorted(declared) == manifest.entities()
    for declaration in declared.values():
        entity = Entity.from_json(declaration.json())
        assert entity.identity == declaration.identity
        assert names.lake_table(names.SILVER, entity.staging_name) in MODELS
