"""The project without the sample shop, in a copy: its checks and tests pass, with no table and with others."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from stack.settings import ROOT
from support.dbt_project import FIXTURE_MODELS

# Patterns of git; docs/how-to/take-out-the-shop.md has the same.
SHOP = (
    "sample",
    "tests/sample",
    "tests/oracle",
    "tests/e2e",
    "tests/support/olist.py",
    "tests/stack/test_demo.py",
    "include/dbt/models/**/*.sql",
    "include/dbt/models/**/*.yml",
    "include/dbt/macros/shop",
    "include/dbt/tests/generic/shop",
    "include/spark_jobs/entities/shop.py",
)
GUIDE = ROOT / "docs" / "how-to" / "take-out-the-shop.md"
MADE = shutil.ignore_patterns(".git", ".stack", ".hypothesis", ".*_cache", "__pycache__", "target", "logs")
# The declaration of the fixture project's tables.
ENTITIES = '''\
"""The entities of the plant."""

from collections.abc import Sequence

from medallion_spark.entity import Entity
from medallion_spark.kinds import DECIMAL, TEXT, TIMESTAMP

ENTITIES: Sequence[Entity] = (
    Entity(name="devices", key=("device_id",), columns={"device_id": TEXT, "site": TEXT}),
    Entity(
        name="readings",
        key=("reading_id",),
        columns={"reading_id": TEXT, "device_id": TEXT, "read_at": TIMESTAMP, "amount": DECIMAL},
    ),
)
'''
# Tests of the product in which no engine starts.
QUICK = ("tests/spark/test_entity.py", "tests/stack/test_environment.py", "tests/stack/test_supervisor.py")


def environment(project: Path) -> dict[str, str]:
    """Return the environment of a person who works in the project."""
    ours = ("AIRFLOW_", "MEDALLION_", "PYTEST_", "STACK_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return inherited | {"AIRFLOW_HOME": str(project / ".stack" / "airflow")}


def run(project: Path, *command: str) -> str:
    """Run a command in the project and return its output; fail with that if the command fails."""
    done = subprocess.run(
        command, cwd=project, env=environment(project), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def make(project: Path, target: str) -> None:
    """Make a target with the installed packages."""
    home = Path(sys.prefix).parent
    run(project, "make", "-o", "venv", "-o", "manifest", target, f"STACK_HOME={home}")


def copy_without_shop(project: Path, files: Mapping[str, Path | str]) -> Path:
    """Copy the project without the shop, with other files in its place, and build its manifests."""
    shutil.copytree(ROOT, project, ignore=MADE)
    if (ROOT / ".mypy_cache").exists():  # it saves half a minute
        shutil.copytree(ROOT / ".mypy_cache", project / ".mypy_cache")
    for pattern in SHOP:
        for path in [*project.glob(pattern)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, content in files.items():
        if isinstance(content, Path):
            shutil.copytree(content, project / name, dirs_exist_ok=True)
        else:
            (project / name).write_text(content)
    run(project, sys.executable, "-m", "stack", "manifest")
    return project


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project without any table."""
    return copy_without_shop(tmp_path_factory.mktemp("empty") / "project", {})


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the two tables of the fixture project."""
    files = {"include/dbt/models": FIXTURE_MODELS, "include/spark_jobs/entities/plant.py": ENTITIES}
    return copy_without_shop(tmp_path_factory.mktemp("other") / "project", files)


def test_project_without_a_table_passes_its_checks(empty: Path) -> None:
    make(empty, "lint")
    make(empty, "test-dags")


def test_project_with_other_tables_passes_its_checks(other: Path) -> None:
    run(other, sys.executable, "-m", "sqlfluff", "lint", "include")
    make(other, "test-dags")


def test_tests_of_the_product_need_no_shop(empty: Path) -> None:
    pytest_ = (sys.executable, "-m", "pytest", "-q")
    run(empty, *pytest_, "--collect-only", "tests/plugins", "tests/spark", "tests/stack")
    run(empty, *pytest_, *QUICK)


@pytest.mark.long
def test_all_tests_of_the_product_need_no_shop(other: Path) -> None:
    run(other, sys.executable, "-m", "pytest", "-q", "tests/plugins", "tests/spark", "tests/stack")


def test_guide_removes_the_same() -> None:
    [block] = [
        code for code in re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL) if "git rm" in code
    ]
    words = shlex.split(block.replace("\\\n", " "), comments=True)
    assert {word for word in words if word not in ("git", "rm", "-r")} == set(SHOP)
    for pattern in SHOP:
        assert [*ROOT.glob(pattern)], f"{pattern} matches nothing"
