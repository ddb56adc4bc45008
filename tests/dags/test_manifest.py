"""The manifests that the tasks are drawn from: of the files as they stand, and every table and column described."""

import json
from typing import Any

import pytest

from medallion.manifest import MANIFESTS, manifest, model_nodes
from medallion.settings import DBT_PROJECT


@pytest.mark.parametrize("engine", ["trino", "spark"])
def test_manifest_is_of_the_files_as_they_stand(engine: str) -> None:
    nodes = json.loads((MANIFESTS / engine / "manifest.json").read_bytes())["nodes"].values()
    parsed = {
        node["original_file_path"]: node["raw_code"] for node in nodes if node["resource_type"] == "model"
    }
    files = {
        str(path.relative_to(DBT_PROJECT)): path.read_text().strip()
        for path in (DBT_PROJECT / "models").rglob("*.sql")
    }
    assert parsed == files, "build it again with `make manifest`"


def described() -> list[Any]:
    """All sources and models, as pytest shows them by name."""
    return [
        pytest.param(node, id=node["unique_id"]) for node in (*manifest()["sources"].values(), *model_nodes())
    ]


@pytest.mark.parametrize("table", described())
def test_table_and_each_of_its_columns_are_described(table: dict[str, Any]) -> None:
    assert table["description"]
    assert table["columns"]
    assert [name for name, column in table["columns"].items() if not column["description"]] == []
