"""The scheduler loads modules and dbt projects before it forks its tasks, so that a task has nothing left to load."""

import json
import os
import shutil
import subprocess
import sys
from pkgutil import resolve_name
from typing import Any

import pytest

from medallion.names import TEST_ENTITIES, Group, task_id
from medallion.project.contracts import gold_tables
from stack.settings import ROOT

# Slow functions that the scheduler calls for its tasks.
SLOW = [
    "cosmos.cache:patch_partial_parse_content",
    "cosmos.dbt.project:_resolve_env_var",
    "dbt.context.macros:MacroNamespace.__iter__",
    "dbt.parser.manifest:ManifestLoader.load",
    "dbt_common.clients.jinja:MacroFuzzEnvironment._parse",
    "inspect:stack",
    "openlineage.common.provider.dbt.local:DbtLocalArtifactProcessor.parse",
    "pkgutil:iter_modules",
    "sqlparse:split",
]
# Names that the scheduler replaces for other reasons.
REPLACED = [
    "airflow.sdk.execution_time.comms:TypeAdapter",
    "airflow.sdk.execution_time.task_runner:TypeAdapter",
    "cosmos.dbt.graph:DbtGraph._load_manifest_from_file",
    "dbt_common.events.functions:env_secrets",
]

# Run tasks in one forked process, add a model, and run them in another one. There is no engine, so each task fails at
# its first statement.
FORK_TWICE = """
import contextlib, importlib, io, jinja2.debug, json, os, sys
from pathlib import Path
root, selected, slow, sys.argv = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:], ["airflow", "scheduler"]
import airflow_local_settings
from airflow.dag_processing.dagbag import DagBag

def record(name, calls):
    module, path = name.split(":")
    *parents, attribute = path.split(".")
    owner = importlib.import_module(module)
    for parent in parents:
        owner = getattr(owner, parent)
    function = getattr(owner, attribute)
    setattr(owner, attribute, lambda *args, **named: calls.append(name) or function(*args, **named))

def in_a_fork():
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        os.wait()
        return json.loads(os.fdopen(reader).read())
    # Jinja reads all macros for the traceback of an error.
    jinja2.debug.rewrite_traceback_stack = lambda source: sys.exc_info()[1]
    calls = []
    for name in slow:
        record(name, calls)
    before = {*sys.modules}
    with contextlib.redirect_stdout(io.StringIO()):
        bag = DagBag(root / "dags" / "medallion_hourly.py")
        failures = []
        for task in bag.dags["medallion_hourly"].tasks:
            if task.task_id in selected:
                task.select, task.env = selected[task.task_id], {"MEDALLION_RUN": "{}"}
                try:
                    task.execute({"run_id": "any"})
                except Exception as error:
                    failures.append(str(error))
        modules, slow_calls = sorted({*sys.modules} - before), sorted({*calls})
        from dbt.cli.main import dbtRunner
        project = str(root / "include" / "dbt")
        listed = dbtRunner().invoke(
            ["--quiet", "--no-write-json", "ls", "--output", "name", "--target", "trino", "--select", "later",
             "--project-dir", project, "--profiles-dir", project]
        )
    with os.fdopen(writer, "w") as out:
        json.dump({"dags": [*bag.dags], "errors": bag.import_errors, "failures": failures, "modules": modules,
                   "slow": slow_calls, "models": listed.result}, out)
    os._exit(0)

first = in_a_fork()
(root / "include" / "dbt" / "models" / "gold" / "later.sql").write_text("select 1 as one")
print(json.dumps([first, in_a_fork()]))
"""


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Fork two processes from a preloaded one, before and after a deployment; returns what each of them had to load."""
    # A new project of `make new` has no models, and so no gold task to run.
    if not (tables := gold_tables()):
        pytest.skip("the project has no gold table")
    model = tables[0].name
    selected = {task_id(Group.GOLD, model): model, TEST_ENTITIES: "bronze_versions"}
    root = tmp_path_factory.mktemp("project")
    for folder in ("dags", "plugins", "include"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")},
        "AIRFLOW_HOME": str(root / "airflow"),
        "STACK_ROOT": str(root),
        "STACK_LOG": str(root / "log"),
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "stack" / "airflow", root / "plugins", ROOT))),
        "TRINO_HOST": "127.0.0.1",
        "TRINO_PORT": "9",  # nobody listens on this port
    }
    done = subprocess.run(
        [sys.executable, "-c", FORK_TWICE, str(root), json.dumps(selected), *SLOW],
        env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_task_imports_nothing_and_does_nothing_that_the_scheduler_has_done(forks: Any) -> None:
    task = forks[0]
    assert task["dags"] == ["medallion_hourly"] and task["errors"] == {}
    assert ["Connection refused" in failure for failure in task["failures"]] == [True, True]
    # Airflow imports the DAG file under a name with this prefix.
    loaded = {module.partition(".")[0] for module in task["modules"]}
    assert {package for package in loaded if not package.startswith("unusual_prefix_")} == set()
    assert task["slow"] == []


@pytest.mark.parametrize("name", REPLACED)
def test_what_the_scheduler_replaces_exists(name: str) -> None:
    assert callable(resolve_name(name))


def test_deployment_after_the_start_counts(forks: Any) -> None:
    assert [task["models"] for task in forks] == [[], ["later"]]
    assert "dbt.parser.manifest:ManifestLoader.load" in forks[1]["slow"]
