"""Each entity's declaration can be read by Spark and agrees with its staging model."""

from medallion import names
from medallion.project import manifest
from medallion.project.declarations import declarations
from medallion_spark.entity import Entity

MODELS = {manifest.table_of(node): node for node in manifest.model_nodes()}


def test_each_staging_model_has_a_declaration_that_spark_can_read() -> None:
    declared = declarations()
    assert sorted(declared) == manifest.entities()
    for declaration in declared.values():
        entity = Entity.from_json(declaration.json())
        assert entity.identity == declaration.identity
        assert names.lake_table(names.SILVER, entity.staging_name) in MODELS
