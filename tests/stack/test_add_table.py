"""The README's steps to add a table, taken in a copy of the project, up to its DAG tests."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stack.settings import ROOT

NAMES = {"seller_id": "invoice_id", "sellers": "invoices", "seller": "invoice"}
SOURCE = """\
      - name: invoices
        description: One row per invoice.
        columns:
          - name: invoice_id
            description: Invoice.
          - name: updated_at
            description: When the source last changed the row.
"""
ENTITY = """\
from medallion_spark.entity import Entity
from medallion_spark.kinds import DECIMAL, TEXT

ENTITIES = [
    Entity(name="invoices", key=("invoice_id",), columns={"invoice_id": TEXT, "total": DECIMAL}),
]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project, with no manifest."""
    for name in ("dags", "plugins", "include", "stack", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("target", "__pycache__"))
    for name in ("pyproject.toml", "requirements-dev.txt", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def as_its_neighbour(path: Path) -> None:
    """Write the file of the table `invoices` like that of `sellers`."""
    text = path.read_text()
    for sellers, invoices in NAMES.items():
        text = text.replace(sellers, invoices)
    path.with_name(path.name.replace("sellers", "invoices")).write_text(text)


def run(project: Path, *arguments: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=project, env=environment | {"AIRFLOW_HOME": str(project / "airflow")},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_table_added_as_the_readme_says_is_drawn_from_source_to_silver(project: Path) -> None:
    models = project / "include" / "dbt" / "models"
    for path in (*models.glob("bronze/sellers.*"), *models.glob("silver/staging/stg_sellers.*")):
        as_its_neighbour(path)
    sources = models / "bronze" / "sources.yml"
    sources.write_text(sources.read_text() + SOURCE)
    entities = project / "include" / "spark_jobs" / "entities" / "invoices.py"
    entities.write_text(ENTITY)

    run(project, "stack", "manifest")
    # They hold the graph against the models that stand on disk.
    run(project, "pytest", "-q", "tests/dags")
    manifest = json.loads((project / "include" / "dbt" / "target" / "trino" / "manifest.json").read_text())
    assert manifest["parent_map"]["model.medallion.stg_invoices"] == ["model.medallion.invoices"]
    assert manifest["parent_map"]["model.medallion.invoices"] == ["source.medallion.sales.invoices"]
