"""The dbt manifests, from which the DAGs' tasks are built, are up to date and describe every table and column."""

from typing import Any

import pytest

from medallion.names import BRONZE
from medallion.project.fingerprint import STAMP, dbt_code
from medallion.project.manifest import MANIFESTS, manifest, model_nodes
from stack.build import TARGETS


@pytest.mark.parametrize("engine", TARGETS)
def test_manifest_is_of_the_current_files(engine: str) -> None:
    digest = (MANIFESTS / engine / STAMP).read_text()
    assert digest == dbt_code(), "build it again with `make manifest`"


def described() -> list[Any]:
    """Return all sources and models as parameters of a test, with their ids for pytest's output."""
    return [
        pytest.param(node, id=node["unique_id"]) for node in (*manifest()["sources"].values(), *model_nodes())
    ]


def test_bronze_and_its_sources_list_no_columns() -> None:
    """Bronze takes its columns from the catalog of the source database."""
    bronze = [node for node in model_nodes() if node["schema"] == BRONZE]
    assert [node["name"] for node in (*manifest()["sources"].values(), *bronze) if node["columns"]] == []


@pytest.mark.parametrize("table", described())
def test_table_and_each_of_its_columns_are_described(table: dict[str, Any]) -> None:
    assert table["description"]
    assert table["columns"] or table["schema"] == BRONZE or table["resource_type"] == "source"
    assert [name for name, column in table["columns"].items() if not column["description"]] == []
