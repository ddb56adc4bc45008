"""A copy of the project without the sample shop, and so without any table, passes its checks and tests."""

import re
import sys
from pathlib import Path

import pytest

from stack.scaffold.project import SAMPLE_FILES
from stack.settings import ROOT
from support.project_copy import SHOP, copy_with_fixture, make, new_project, run

GUIDE = ROOT / "docs" / "how-to" / "take-out-the-shop.md"
PRODUCT = ("tests/models", "tests/plugins", "tests/spark", "tests/stack")
# Test modules of the product that start no engine.
QUICK = ("test_entity.py", "test_environment.py", "test_supervisor.py")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a project without any table, as `make new` does."""
    project = new_project(tmp_path_factory.mktemp("empty") / "project")
    run(project, sys.executable, "-m", "stack", "manifest")
    return project


def test_project_without_a_table_passes_its_checks(empty: Path) -> None:
    make(empty, "lint")
    make(empty, "test-dags")


def test_tests_of_the_product_need_no_shop(empty: Path) -> None:
    """All tests of the product can be collected, and those without an engine pass."""
    run(empty, sys.executable, "-m", "pytest", "-q", *PRODUCT, "-k", " or ".join(QUICK))


@pytest.mark.long
def test_all_tests_of_the_product_need_no_shop(tmp_path: Path) -> None:
    """All tests run in a copy whose only tables are the two of the fixture project."""
    other = copy_with_fixture(tmp_path / "project")
    run(other, sys.executable, "-m", "stack", "manifest")
    run(other, sys.executable, "-m", "pytest", "-q", *PRODUCT)


def test_guide_removes_what_the_list_names() -> None:
    assert f"--pathspec-from-file={SAMPLE_FILES.relative_to(ROOT)}" in GUIDE.read_text()
    named = " ".join(re.findall(r"^\| (`.*?) \|", GUIDE.read_text(), re.MULTILINE))
    for pattern in SHOP:
        assert [*ROOT.glob(pattern)], f"{pattern} matches nothing"
        if "*" not in pattern:
            assert pattern in named, pattern
