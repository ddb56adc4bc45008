"""The project without the sample shop, in a copy: its checks and tests pass, with no table and with others."""

import re
import sys
from pathlib import Path

import pytest

from stack.scaffold.project import SAMPLE_FILES
from stack.settings import ROOT
from support.project_copy import SHOP, copy_with_fixture, make, new_project, run

GUIDE = ROOT / "docs" / "how-to" / "take-out-the-shop.md"
PRODUCT = ("tests/models", "tests/plugins", "tests/spark", "tests/stack")
# Tests of the product in which no engine starts.
QUICK = ("tests/spark/test_entity.py", "tests/stack/test_environment.py", "tests/stack/test_supervisor.py")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project without any table, as `make new` makes it."""
    project = new_project(tmp_path_factory.mktemp("empty") / "project")
    run(project, sys.executable, "-m", "stack", "manifest")
    return project


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the two tables of the fixture project."""
    project = copy_with_fixture(tmp_path_factory.mktemp("other") / "project")
    run(project, sys.executable, "-m", "stack", "manifest")
    return project


def test_project_without_a_table_passes_its_checks(empty: Path) -> None:
    make(empty, "lint")
    make(empty, "test-dags")


def test_project_with_other_tables_passes_its_checks(other: Path) -> None:
    run(other, sys.executable, "-m", "sqlfluff", "lint", "include")
    make(other, "test-dags")


def test_tests_of_the_product_need_no_shop(empty: Path) -> None:
    pytest_ = (sys.executable, "-m", "pytest", "-q")
    run(empty, *pytest_, "--collect-only", *PRODUCT)
    run(empty, *pytest_, *QUICK)


@pytest.mark.long
def test_all_tests_of_the_product_need_no_shop(other: Path) -> None:
    run(other, sys.executable, "-m", "pytest", "-q", *PRODUCT)


def test_guide_removes_what_the_list_names() -> None:
    assert f"--pathspec-from-file={SAMPLE_FILES.relative_to(ROOT)}" in GUIDE.read_text()
    named = " ".join(re.findall(r"^\| (`.*?) \|", GUIDE.read_text(), re.MULTILINE))
    for pattern in SHOP:
        assert [*ROOT.glob(pattern)], f"{pattern} matches nothing"
        if "*" not in pattern:
            assert pattern in named, pattern
