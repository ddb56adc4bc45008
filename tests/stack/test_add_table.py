"""The guide's steps to add a table, taken in a copy of the project, up to its DAG tests."""

import json
import re
import sys
from pathlib import Path

import pytest

from stack.settings import ROOT
from support.project_copy import copy_with_fixture, run

GUIDE = ROOT / "docs" / "how-to" / "add-a-table.md"
TABLE_FILES = (
    "bronze/invoices.sql", "bronze/invoices.yml", "silver/staging/stg_invoices.sql", "silver/staging/stg_invoices.yml"
)  # fmt: skip


def guide_files() -> dict[str, str]:
    """Return the files of the guide: path to text."""
    blocks = re.findall(
        r'^```\w+ title="(include/[^"]+)"\n(.*?)^```', GUIDE.read_text(), re.DOTALL | re.MULTILINE
    )
    return dict(blocks)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the tables of the fixture project and the one of the guide, and its manifests."""
    project = copy_with_fixture(tmp_path_factory.mktemp("table") / "project")
    files = guide_files()
    assert set(files) == {f"include/dbt/models/{name}" for name in TABLE_FILES}
    for path, text in files.items():
        (project / path).write_text(text)
    run(project, sys.executable, "-m", "stack", "manifest")
    return project


def test_added_table_is_drawn_from_source_to_silver(project: Path) -> None:
    # They compare the graphs with the models on disk, and the declarations with each other.
    tests = [f"tests/dags/test_{name}.py" for name in ("declarations", "hourly", "manifest", "reconcile")]
    run(project, sys.executable, "-m", "pytest", "-q", *tests)
    manifest = json.loads((project / "include/dbt/target/trino/manifest.json").read_text())
    assert manifest["parent_map"]["model.medallion.stg_invoices"] == ["model.medallion.invoices"]
    assert manifest["parent_map"]["model.medallion.invoices"] == ["source.medallion.sales.invoices"]


def test_declaration_that_cannot_be_used_is_refused_before_a_manifest_is_made(project: Path) -> None:
    path = project / "include/dbt/models/silver/staging/stg_invoices.yml"
    text = path.read_text()
    path.write_text(text.replace("name: issued_at", "name: issued_on"))
    try:
        with pytest.raises(AssertionError) as failure:
            run(project, sys.executable, "-m", "stack", "manifest")
    finally:
        path.write_text(text)
    refusal = "stg_invoices.yml: stg_invoices does not declare issued_at, which its select returns"
    assert refusal in " ".join(str(failure.value).split())
    assert not (project / "include/dbt/target/spark/sources.sha256").exists()
