"""The manifests that Airflow's tasks are built from: of the current files, with every table and column described."""

from typing import Any

import pytest

from medallion.project.manifest import MANIFESTS, manifest, model_nodes
from stack.build import TARGETS, dbt_sources


@pytest.mark.parametrize("engine", TARGETS)
def test_manifest_is_of_the_current_files(engine: str) -> None:
    digest = (MANIFESTS / engine / "sources.sha256").read_text()
    assert digest == dbt_sources(), "build it again with `make manifest`"


def described() -> list[Any]:
    """Return all sources and models, as pytest shows them by name."""
    return [
        pytest.param(node, id=node["unique_id"]) for node in (*manifest()["sources"].values(), *model_nodes())
    ]


@pytest.mark.parametrize("table", described())
def test_table_and_each_of_its_columns_are_described(table: dict[str, Any]) -> None:
    assert table["description"]
    assert table["columns"]
    assert [name for name, column in table["columns"].items() if not column["description"]] == []
