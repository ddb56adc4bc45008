"""The targets that people and scripts rely on."""

import shutil
import subprocess
from pathlib import Path

import pytest

from stack.settings import ROOT

TARGETS = (
    "run", "build", "up", "down", "status", "logs", "load", "seed", "sample", "live", "backfill", "rebuild",
    "run_bronze", "run_silver", "run_gold", "env", "docs", "dbt-test", "test", "test-dags", "lint", "clean",
)  # fmt: skip


def test_help_tells_of_every_target() -> None:
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    told = dict(line.split(maxsplit=1) for line in said.splitlines())
    assert told.keys() >= set(TARGETS)
    assert all(told.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["load"], "make load OLIST=DIR"),
        (["backfill", "FROM=2018-01-01"], "make backfill FROM=2018-01-01 TO=2018-02-01"),
        (["rollback"], "make rollback BATCH=12"),
        (["chaos", "RUNS=some"], "argument --runs: invalid int value: 'some'"),
    ],
)
def test_missing_or_wrong_variable_is_told(arguments: list[str], message: str) -> None:
    # As if all were installed: it is told before anything is done.
    command = ["make", "-o", "venv", "-o", "manifest", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert message in done.stderr


def test_clean_removes_what_was_made_and_nothing_else(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    home = tmp_path / "disk"
    for name in ("warehouse/silver", "venv/bin", "photos"):
        (home / name).mkdir(parents=True)
    clean = ["make", "-o", "down", "clean", f"STACK_HOME={home}"]
    done = subprocess.run(clean, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert [path.name for path in home.iterdir()] == ["photos"]
    assert f"left in {home}:\nphotos\n" in done.stdout
    (home / "photos").rmdir()
    subprocess.run(clean, cwd=tmp_path, check=True)
    assert not home.exists()
