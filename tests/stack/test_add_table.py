"""The guides' examples of a table and of a gold model, in a copy of the project, up to its DAG tests."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stack.settings import ROOT

GUIDES = ROOT / "docs" / "how-to"
BLOCK = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.DOTALL | re.MULTILINE)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project, with no manifest."""
    for name in ("dags", "plugins", "include", "sample", "stack", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("target", "__pycache__"))
    for name in ("pyproject.toml", "requirements-dev.txt", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def follow(guide: str, project: Path) -> None:
    """Write a guide's files into the project. A later form of a file replaces the earlier one."""
    for name, text in BLOCK.findall((GUIDES / guide).read_text()):
        path = project / name
        if path.name == "sources.yml":
            path.write_text(path.read_text() + text)
        elif path.suffix:
            path.write_text(text)


def run(project: Path, *arguments: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env=environment
        | {"AIRFLOW_HOME": str(project / "airflow"), "PYTHONPATH": str(project / "include" / "spark_jobs")},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_examples_of_the_guides_are_drawn_from_source_to_gold(project: Path) -> None:
    follow("add-a-table.md", project)
    follow("add-a-gold-model.md", project)

    run(project, "-c", "from medallion_spark.entity import declared_entities as e; e()['invoices']")
    run(project, "-m", "stack", "manifest")
    # The DAG tests compare the graph with the models on disk.
    run(project, "-m", "pytest", "-q", "tests/dags")
    manifest = json.loads((project / "include" / "dbt" / "target" / "trino" / "manifest.json").read_text())
    assert manifest["parent_map"]["model.medallion.customers_by_city"] == ["model.medallion.stg_customers"]
    assert manifest["parent_map"]["model.medallion.stg_invoices"] == ["model.medallion.invoices"]
    assert manifest["parent_map"]["model.medallion.invoices"] == ["source.medallion.sales.invoices"]
