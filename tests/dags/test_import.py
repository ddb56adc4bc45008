"""Loading the DAG files connects to nothing, starts nothing and imports no large library.

The files are loaded in a new interpreter, because here other tests have already imported libraries.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import DAGS

# Python's audit hooks report every connection and process, whichever function opens or starts it.
LOAD = """
import json, sys
events, watched = [], {"socket.connect", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"}
def note(event, arguments):
    if event in watched:
        events.append(f"{event} {arguments}")
sys.addaudithook(note)
from airflow.dag_processing.dagbag import DagBag
events.clear()  # of Airflow's own imports
bag = DagBag(sys.argv[1])
print(json.dumps({"dags": sorted(bag.dags), "errors": bag.import_errors, "events": events, "modules": [*sys.modules]}))
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The DAGs, errors, audit events and imported modules after a new interpreter has loaded the DAG files."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")},
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "PYTHONPATH": str(DAGS.parent / "plugins"),
    }
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(DAGS)],
        env=environment, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def test_loading_connects_to_nothing_and_starts_nothing(loaded: Any) -> None:
    assert loaded["dags"] == sorted(path.stem for path in DAGS.glob("*.py"))
    assert loaded["errors"] == {}
    assert loaded["events"] == []


@pytest.mark.parametrize("module", ["dbt.cli.main", "pyiceberg", "pyspark", "pandas", "duckdb"])
def test_loading_leaves_the_heavy_imports_to_the_tasks(loaded: Any, module: str) -> None:
    assert loaded["dags"] and module not in loaded["modules"]


def test_error_of_a_missing_manifest_names_the_command_that_builds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medallion.project import manifest

    monkeypatch.setattr(manifest, "MANIFESTS", tmp_path)
    with pytest.raises(manifest.ManifestError, match=r"manifest\.json is missing: .*`make manifest`"):
        manifest.manifest()
