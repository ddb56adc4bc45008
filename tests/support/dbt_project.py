"""dbt projects for tests. They have the product's macros and data tests, but other models."""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from stack.build import PARSE
from stack.settings import ROOT

DBT = ROOT / "include" / "dbt"
FIXTURE_MODELS = Path(__file__).with_name("models")
PRODUCT = (
    "dbt_project.yml",
    "profiles.yml",
    "macros/medallion",
    "tests/generic/medallion",
    "tests/medallion",
    "models/columns.md",
)
TARGETS = ("trino", "spark")


def copy_project(folder: Path, models: Path | None) -> None:
    """Write a dbt project into a new folder: the product's files and the folder `models`. None: without models."""
    for name in PRODUCT:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (DBT / name).is_dir():
            shutil.copytree(DBT / name, folder / name)
        else:
            shutil.copy(DBT / name, folder / name)
    if models:
        shutil.copytree(models, folder / "models", dirs_exist_ok=True)


def parsed_fixture(cache: Path) -> Path:
    """Return the folder with `<engine>/manifest.json` of the fixture project. Parse only if its files have changed."""
    digest = hashlib.sha256()
    folders = [DBT / name for name in PRODUCT] + [FIXTURE_MODELS]
    for path in sorted(path for folder in folders for path in (folder, *folder.rglob("*")) if path.is_file()):
        digest.update(path.read_bytes())
    target = cache / f"fixture-{digest.hexdigest()[:16]}"
    # If two test processes need the manifests at the same time, one parses and the other waits.
    with (cache / "fixture.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            partial = target.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            copy_project(partial, FIXTURE_MODELS)
            for engine in TARGETS:
                parse(partial, engine)
            partial.rename(target)
    return target / "target"


def parse(project: Path, engine: str) -> None:
    """Parse a dbt project for an engine, as `make manifest` does."""
    command: list[str | Path] = [Path(sys.executable).with_name("dbt"), "--no-version-check", *PARSE[engine]]
    command += ["--target", engine, "--target-path", project / "target" / engine]
    command += ["--project-dir", project, "--profiles-dir", project]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
