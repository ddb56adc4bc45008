"""The guide's steps to add a table, taken in a copy of the project, up to its DAG tests."""

import json
import re
import sys
from pathlib import Path

import pytest

from stack.settings import ROOT
from support.project_copy import copy_with_fixture, run

GUIDE = ROOT / "docs" / "how-to" / "add-a-table.md"
SOURCES = "include/dbt/models/bronze/sources.yml"
TABLE_FILES = ("bronze/invoices.sql", "bronze/invoices.yml", "silver/staging/stg_invoices.sql")


def guide_files() -> dict[str, str]:
    """Return the files of the guide: path to text. They read from the source of the fixture project."""
    blocks = re.findall(
        r'^```\w+ title="(include/[^"]+)"\n(.*?)^```', GUIDE.read_text(), re.DOTALL | re.MULTILINE
    )
    return {path: text.replace("'sales'", "'plant'") for path, text in blocks}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the tables of the fixture project and the one of the guide, and its manifests."""
    project = copy_with_fixture(tmp_path_factory.mktemp("table") / "project")
    files = guide_files()
    assert set(files) > {SOURCES, *(f"include/dbt/models/{name}" for name in TABLE_FILES)}
    files[SOURCES] = (project / SOURCES).read_text() + files[SOURCES]
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
    assert manifest["parent_map"]["model.medallion.invoices"] == ["source.medallion.plant.invoices"]


def test_disagreeing_declarations_are_red_dag_tests(project: Path) -> None:
    [path] = [name for name in guide_files() if name.startswith("include/spark_jobs/entities/")]
    text = (project / path).read_text()
    assert "total" in text and 'key=("invoice_id",)' in text
    extra = '    Entity(name="bills", key=("id",), columns={"id": TEXT}),\n)\n'
    changed = text.replace("total", "sum").replace('key=("invoice_id",)', 'key=("order_id",)')
    (project / path).write_text(re.sub(r"\)\n$", lambda _: extra, changed))
    try:
        with pytest.raises(AssertionError) as failure:
            run(project, sys.executable, "-m", "pytest", "-q", "tests/dags/test_declarations.py")
    finally:
        (project / path).write_text(text)
    folder = "include/dbt/models"
    for message in (
        f"{folder}/silver/staging/stg_invoices.yml lacks sum, which the entity invoices declares",
        f"{folder}/bronze/invoices.yml has the natural_key ['invoice_id'], and its entity the key ['order_id']",
        "models/silver/staging has no model of bills, which include/spark_jobs/entities declares",
    ):
        assert message in str(failure.value)
