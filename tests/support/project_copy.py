"""Copies of the project without the sample shop, and commands that run in such a copy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from stack.scaffold.project import make_project, sample_patterns
from stack.settings import ROOT
from support.dbt_project import FIXTURE_MODELS

SHOP = sample_patterns()
MADE = shutil.ignore_patterns(".git", ".stack", ".hypothesis", ".*_cache", "__pycache__", "target", "logs")


def environment(project: Path) -> dict[str, str]:
    """Return the environment variables for commands in the project, without those of this test run."""
    ours = ("AIRFLOW_", "MEDALLION_", "PYTEST_", "STACK_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return inherited | {"AIRFLOW_HOME": str(project / ".stack" / "airflow")}


def run(project: Path, *command: str) -> str:
    """Run a command in the project and return its output; fail with the output if the command fails."""
    done = subprocess.run(
        command, cwd=project, env=environment(project), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def make(project: Path, target: str) -> None:
    """Run `make` with a target in the project. Use this Python environment, and do not parse the manifests again."""
    home = Path(sys.prefix).parent
    run(project, "make", "-o", "venv", "-o", "manifest", target, f"STACK_HOME={home}")


def new_project(project: Path) -> Path:
    """Create a project as `make new` does, and return its folder."""
    make_project(project)
    copy_cache(project)
    return project


def copy_cache(project: Path) -> None:
    """Copy mypy's cache, so that mypy needs half a minute less in the copy."""
    if (ROOT / ".mypy_cache").exists():
        shutil.copytree(ROOT / ".mypy_cache", project / ".mypy_cache")


def copy_without_shop(project: Path) -> Path:
    """Copy the project into a new folder, without the shop and without any models, and return that folder."""
    shutil.copytree(ROOT, project, ignore=MADE)
    copy_cache(project)
    # The patterns match all models, not only the shop's, so this also works in a project without the shop.
    for pattern in SHOP:
        for path in [*project.glob(pattern)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return project


def copy_with_fixture(project: Path) -> Path:
    """Copy the project, replace the shop's models by those of the fixture project, and return the new folder."""
    copy_without_shop(project)
    shutil.copytree(FIXTURE_MODELS, project / "include" / "dbt" / "models", dirs_exist_ok=True)
    return project
