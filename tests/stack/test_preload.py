"""Modules and projects that the scheduler preloads, seen from its forked processes: nothing is left to load."""

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

from stack.settings import ROOT

# A file is deployed between the two processes.
FORK_TWICE = """
import contextlib, io, json, os, sys
from pathlib import Path
root, sys.argv = Path(sys.argv[1]), ["airflow", "scheduler"]
import airflow_local_settings
from airflow.dag_processing.dagbag import DagBag

def in_a_fork():
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        os.wait()
        return json.loads(os.fdopen(reader).read())
    before = {*sys.modules}
    with contextlib.redirect_stdout(io.StringIO()):
        bag = DagBag(root / "dags" / "medallion_hourly.py")
        from dbt.cli.main import dbtRunner
        from dbt.parser.manifest import ManifestLoader
        loads, load = [], ManifestLoader.load
        ManifestLoader.load = lambda loader: loads.append("loaded") or load(loader)
        project = str(root / "include" / "dbt")
        listed = dbtRunner().invoke(
            ["--quiet", "--no-write-json", "ls", "--output", "name", "--target", "trino", "--select", "later",
             "--project-dir", project, "--profiles-dir", project]
        )
    with os.fdopen(writer, "w") as out:
        json.dump({"dags": [*bag.dags], "errors": bag.import_errors, "modules": sorted({*sys.modules} - before),
                   "models": listed.result, "loads": loads}, out)
    os._exit(0)

first = in_a_fork()
(root / "include" / "dbt" / "models" / "gold" / "later.sql").write_text("select 1 as one")
print(json.dumps([first, in_a_fork()]))
"""


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two processes forked from a preloaded one, before and after a deployment."""
    root = tmp_path_factory.mktemp("project")
    for folder in ("dags", "plugins", "include"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")},
        "AIRFLOW_HOME": str(root / "airflow"),
        "STACK_ROOT": str(root),
        "STACK_LOG": str(root / "log"),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "stack" / "airflow"), str(root / "plugins")]),
    }
    done = subprocess.run(
        [sys.executable, "-c", FORK_TWICE, str(root)],
        env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_task_imports_nothing_and_does_not_load_the_parsed_project(forks: Any) -> None:
    task = forks[0]
    assert task["dags"] == ["medallion_hourly"] and task["errors"] == {}
    # Airflow imports the DAG file under a name of its own, and only this test lists models.
    loaded = {module.partition(".")[0] for module in task["modules"] if module != "dbt.task.list"}
    assert {package for package in loaded if not package.startswith("unusual_prefix_")} <= {"airflow"}
    assert task["loads"] == []


def test_deployment_after_the_start_counts(forks: Any) -> None:
    assert [task["models"] for task in forks] == [[], ["later"]]
    assert forks[1]["loads"] == ["loaded"]
