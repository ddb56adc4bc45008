"""`make new`: the files of a new project, the folders that are refused, and the upgrade to a later version."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from stack.errors import StackError
from stack.scaffold import project
from stack.scaffold.project import make_project
from stack.settings import ROOT

GUIDE = ROOT / "docs" / "how-to" / "upgrade.md"


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=me", "-c", "user.email=me@localhost")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def product(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a small product in a git repository, from which a test creates projects."""
    folder = tmp_path / "product"
    for name, text in {
        "README.md": "The product.\n",
        "pyproject.toml": '[project]\nname = "medallion"\nversion = "1.0.0"\n',
        "plugins/medallion/rules.py": "ONE = 1\n",
        "include/dbt/models/bronze/README.md": "# bronze\n",
        "include/dbt/models/bronze/readings.sql": "select 1\n",
        "include/dbt/models/silver/staging/stg_readings.yml": "models: []\n",
        "sample/load.py": "",
        "tests/sample/test_load.py": "",
        "tests/stack/test_it.py": "",
        "stack/scaffold/sample_files.txt": project.SAMPLE_FILES.read_text(),
        ".gitignore": "/.env\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "-c", "init.defaultBranch=main", "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "One")
    (folder / "untracked.txt").write_text("mine")
    monkeypatch.setattr(project, "ROOT", folder)
    return folder


def files(folder: Path) -> set[str]:
    return set(git(folder, "ls-files").split())


def test_a_project_has_no_file_of_the_sample(product: Path, tmp_path: Path) -> None:
    (product / ".env").write_text("STACK_SOURCE_URL=postgresql://me:secret@h/db\n")
    folder = tmp_path / "my-etl"
    make_project(folder)
    assert files(folder) == {
        ".gitignore", "README.md", "pyproject.toml", "plugins/medallion/rules.py", "tests/stack/test_it.py",
        "include/dbt/models/bronze/README.md", "stack/scaffold/sample_files.txt",
    }  # fmt: skip
    assert (folder / "README.md").read_text().startswith("# my-etl\n")
    assert git(folder, "status", "--short") == ""
    assert git(folder, "log", "--format=%s").split("\n")[:2] == ["Start the project", "Take medallion 1.0.0"]
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    assert not [*tmp_path.glob(".my-etl*")]


def test_without_git_the_files_are_copied(
    product: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (product / "include" / "dbt" / "target").mkdir()
    (product / "include" / "dbt" / "target" / "manifest.json").touch()
    monkeypatch.setattr(project.shutil, "which", lambda name: None)
    make_project(tmp_path / "copy")
    assert (tmp_path / "copy" / "plugins" / "medallion" / "rules.py").exists()
    assert not (tmp_path / "copy" / "sample").exists()
    assert not (tmp_path / "copy" / "include" / "dbt" / "target").exists()
    assert not (tmp_path / "copy" / ".git").exists()


def test_other_folders_are_refused(product: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "file").touch()
    for folder, message in (
        (tmp_path / "full", "exists and is not an empty folder"),
        (tmp_path / "file", "exists and is not an empty folder"),
        (product / "inner", "inside of this project"),
        (product, "inside of this project"),
        (tmp_path / "my etl", "has ' ' in its name"),
    ):
        with pytest.raises(StackError, match=message):
            make_project(folder)
    (tmp_path / "empty").mkdir()
    make_project(tmp_path / "empty")
    assert (tmp_path / "empty" / "README.md").exists()


def test_a_project_that_fails_leaves_nothing(
    product: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "README", tmp_path / "missing.md")
    with pytest.raises(StackError, match="Nothing was left there"):
        make_project(tmp_path / "my-etl")
    assert [path.name for path in tmp_path.iterdir()] == ["product"]


def test_a_later_version_is_merged_as_the_guide_says(product: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my-etl"
    make_project(folder)
    own = folder / "include" / "dbt" / "models" / "bronze" / "readings.sql"
    own.write_text("select 'mine'\n")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Add a table")

    (product / "plugins" / "medallion" / "rules.py").write_text("ONE = 2\n")
    (product / "plugins" / "medallion" / "new.py").touch()
    (product / "README.md").write_text("The product, better.\n")
    (product / "include" / "dbt" / "models" / "bronze" / "readings.sql").write_text("select 2\n")
    (product / "tests" / "stack" / "test_it.py").unlink()
    git(product, "rm", "--quiet", "--cached", "tests/stack/test_it.py")
    git(product, "add", "--all", "plugins", "README.md", "include")
    git(product, "commit", "--quiet", "--message", "Two")

    [block] = [
        code
        for code in re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL)
        if "product/main" in code
    ]
    for line in block.splitlines():
        command = shlex.split(line, comments=True)
        assert command[0] == "git"
        git(folder, *command[1:])

    assert git(folder, "branch", "--show-current").strip() == "main"
    assert (folder / "plugins" / "medallion" / "rules.py").read_text() == "ONE = 2\n"
    assert own.read_text() == "select 'mine'\n"
    assert (folder / "README.md").read_text().startswith("# my-etl\n")
    assert files(folder) == {
        ".gitignore", "README.md", "pyproject.toml", "plugins/medallion/rules.py", "plugins/medallion/new.py",
        "include/dbt/models/bronze/README.md", "include/dbt/models/bronze/readings.sql",
        "stack/scaffold/sample_files.txt",
    }  # fmt: skip
    assert git(folder, "status", "--short") == ""
