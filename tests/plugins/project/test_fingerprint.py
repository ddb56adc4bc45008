"""The fingerprints of tables: which change of a project changes the fingerprints of which tables."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from medallion.project import fingerprint
from medallion.project.fingerprint import dbt_code, fingerprints, project_code, table_fingerprints
from medallion.project.manifest import ManifestError, manifest

Change = Callable[[dict[str, Any]], object]
DAY, MONTH, SITE = "gold.readings_by_day", "gold.readings_by_device_month", "gold.devices_by_site"
READINGS, DEVICES, FACTS = "silver.stg_readings", "silver.stg_devices", "silver.fact_readings"
ABOVE_READINGS = {FACTS, DAY, MONTH}


def changed(change: Change, entity_code: str = "a") -> set[str]:
    """Return the tables whose fingerprint a change of the manifest changes."""
    project = manifest()
    before = fingerprints(project, "a")
    after = deepcopy(project)
    change(after)
    return {table for table, value in fingerprints(after, entity_code).items() if before.get(table) != value}


def model(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda project: project["nodes"][f"model.medallion.{name}"]


def macro(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda project: project["macros"][f"macro.medallion.{name}"]


def edit_macro(name: str) -> Change:
    return lambda project: macro(name)(project).update(macro_sql="{% macro other() %}{% endmacro %}")


def add_spark_variant(project: dict[str, Any]) -> None:
    """Add a Spark variant of `batch_if`. A manifest for Trino does not say that Spark would call this variant."""
    variant = deepcopy(macro("batch_if")(project)) | {"name": "spark__batch_if"}
    project["macros"]["macro.medallion.spark__batch_if"] = variant


def add_model(project: dict[str, Any]) -> None:
    unique_id = "model.medallion.readings_by_week"
    project["nodes"][unique_id] = model("readings_by_day")(project) | {"name": "readings_by_week"}


def test_tables_of_silver_and_gold_have_one() -> None:
    assert fingerprints(manifest(), "a").keys() == {READINGS, DEVICES, FACTS, DAY, MONTH, SITE}


@pytest.mark.parametrize(
    ("change", "tables"),
    [
        (lambda project: model("readings_by_day")(project)["checksum"].update(checksum="0"), {DAY}),
        (lambda project: model("fact_readings")(project)["checksum"].update(checksum="0"), ABOVE_READINGS),
        (lambda project: model("readings_by_day")(project)["config"].update(unique_key=["readings"]), {DAY}),
        (
            lambda project: model("readings_by_day")(project)["columns"]["total"].update(data_type="double"),
            {DAY},
        ),
        (
            lambda project: model("stg_readings")(project)["config"]["meta"].update(flags={"low": "amount < 0"}),
            {READINGS, *ABOVE_READINGS},
        ),
        (
            lambda project: model("stg_readings")(project)["columns"]["amount"].update(
                constraints=[{"type": "check", "expression": "amount >= 0"}]
            ),
            {READINGS, *ABOVE_READINGS},
        ),
        (edit_macro("batch_if"), {FACTS, DAY, MONTH}),
        (edit_macro("run_context"), {FACTS, DAY, MONTH, SITE}),  # no model names this macro
        (edit_macro("row_differs"), {FACTS, DAY, MONTH, SITE}),  # only the materialization names it
        (add_spark_variant, {FACTS, DAY, MONTH}),
        (add_model, {"gold.readings_by_week"}),
    ],
    ids=[
        "sql", "sql of a mart", "key", "type", "flag of an entity", "constraint of an entity", "macro",
        "macro of a macro", "macro of the materialization", "macro for the other engine", "new model",
    ],
)  # fmt: skip
def test_change_concerns_the_table_and_what_is_built_from_it(change: Change, tables: set[str]) -> None:
    assert changed(change) == tables


@pytest.mark.parametrize(
    "change",
    [
        lambda project: model("fact_readings")(project).update(description="Facts."),
        lambda project: model("fact_readings")(project)["columns"]["amount"].update(description="Amount."),
        lambda project: model("fact_readings")(project)["config"]["meta"].update(sorted_by=["read_at"]),
        lambda project: macro("batch_if")(project).update(description="A batch."),
        lambda project: model("readings")(project)["config"]["meta"].update(natural_key=["other"]),
        edit_macro("show_failures"),
        lambda project: [
            project["nodes"].pop(name)
            for name, node in [*project["nodes"].items()]
            if node["resource_type"] != "model"
        ],
    ],
    ids=[
        "description",
        "description of a column",
        "layout",
        "description of a macro",
        "bronze",
        "macro apart",
        "tests",
    ],
)
def test_change_that_changes_no_row_concerns_nothing(change: Change) -> None:
    assert changed(change) == set()


def test_code_of_the_spark_jobs_concerns_every_entity_and_what_is_built_from_it() -> None:
    assert changed(lambda project: None, entity_code="b") == {READINGS, DEVICES, *ABOVE_READINGS, SITE}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a project: a dbt project with a model, a macro and a test, and Spark jobs with one module."""
    for name in (
        "dbt/models/a.sql",
        "dbt/macros/b.sql",
        "dbt/tests/c.sql",
        "dbt/dbt_project.yml",
        "jobs/d/e.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(fingerprint, "DBT_PROJECT", tmp_path / "dbt")
    monkeypatch.setattr(fingerprint, "SPARK_JOBS", tmp_path / "jobs")
    return tmp_path


@pytest.mark.parametrize(
    "name", ["dbt/models/a.sql", "dbt/models/f.yml", "dbt/macros/b.sql", "dbt/dbt_project.yml", "jobs/d/e.py"]
)
def test_file_that_changes_or_is_new_changes_the_code(files: Path, name: str) -> None:
    before = project_code()
    (files / name).write_text("2")
    assert project_code() != before


def test_files_that_are_made_do_not_change_the_code(files: Path) -> None:
    before = project_code()
    for name in ("dbt/target/trino/manifest.json", "dbt/logs/dbt.log", "jobs/d/__pycache__/e.pyc"):
        (files / name).parent.mkdir(parents=True)
        (files / name).write_text("2")
    assert project_code() == before


def test_manifest_of_other_files_is_refused(files: Path, declare: Any, tmp_path: Path) -> None:
    declare({"nodes": {}, "macros": {}})
    # Without sources.sha256 nobody knows which files the manifest was built from.
    assert table_fingerprints() == {}
    (tmp_path / "trino" / "sources.sha256").write_text(dbt_code())
    assert table_fingerprints() == {}
    (files / "dbt/models/a.sql").write_text("2")
    with pytest.raises(ManifestError, match="make manifest"):
        table_fingerprints()
