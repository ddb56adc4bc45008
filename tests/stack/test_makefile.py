"""The targets of the Makefile that people and scripts use."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stack.settings import ROOT

TARGETS = (
    "run", "build", "up", "down", "status", "logs", "env", "sample", "load", "live",
    "table", "tables", "new",
    "trigger", "backfill", "rebuild", "reconcile", "maintain", "publications", "as-of", "rollback", "resume",
    "run-bronze", "run-silver", "run-gold", "manifest", "docs", "lint", "lock", "clean",
    "test", "test-dags", "dbt-test", "test-long", "chaos", "bench",
)  # fmt: skip
# Variables that `make test OLIST=DIR` would pass on to the make that a test runs.
OUTER_VARIABLES = ("MAKEFLAGS", "MAKELEVEL", "OLIST")
EARLIER_NAMES = ("seed", "run_bronze", "run_silver", "run_gold", "as_of")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as if the environment and the manifests were up to date."""
    command = ["make", "-o", "venv", "-o", "manifest", f"STACK_HOME={Path(sys.prefix).parent}", *arguments]
    env = {name: value for name, value in os.environ.items() if name not in OUTER_VARIABLES}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_help_lists_every_target_by_section_in_short_lines() -> None:
    lines = make("help").stdout.splitlines()
    sections = [line for line in lines if line and not line.startswith(" ")]
    assert {"Start", "Operate", "Develop", "Test"} <= set(sections)
    listed = dict(line.split(maxsplit=1) for line in lines if line.startswith(" "))
    assert listed.keys() == {*TARGETS, "help"}
    assert all(listed.values())
    assert max(map(len, lines)) < 100


def test_target_names_are_spelled_with_dashes() -> None:
    assert not [name for name in TARGETS if "_" in name]


@pytest.mark.parametrize(
    ("earlier", "now"),
    [
        (["seed", "ORDERS=5"], ["sample", "ORDERS=5"]),
        (["run_silver", "FROM=2018-01-01"], ["run-silver", "FROM=2018-01-01"]),
        (["as_of", "BATCH=1", "TABLE=t"], ["as-of", "BATCH=1", "TABLE=t"]),
    ],
)
def test_earlier_names_do_the_same(earlier: list[str], now: list[str]) -> None:
    done = make("-n", *earlier)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == make("-n", *now).stdout.splitlines()[-1]


@pytest.mark.parametrize("name", [*TARGETS, *EARLIER_NAMES])
def test_every_target_is_there(name: str) -> None:
    values = ["OLIST=x", "FROM=x", "TO=x", "BATCH=1", "TABLE=x", "SCHEMA=x", "DIR=x"]
    assert make("-n", name, *values).returncode == 0


def test_trigger_takes_a_range_or_nothing() -> None:
    assert make("-n", "trigger").stdout.split()[-1] == "trigger"
    assert make("-n", "trigger", "FROM=a", "TO=b").stdout.strip().endswith("trigger --from 'a' --to 'b'")


@pytest.mark.parametrize(("hourly", "command"), [("", "trigger"), ("1", "backfill")])
def test_too_many_rejected_rows_may_be_accepted(hourly: str, command: str) -> None:
    assert make("-n", "trigger", "ALLOW_REJECTED=1").stdout.split()[-2:] == ["trigger", "--allow-rejected"]
    backfill = make("-n", "backfill", "FROM=a", "TO=b", f"HOURLY={hourly}", "ALLOW_REJECTED=1").stdout
    assert backfill.strip().endswith(f"{command} --from 'a' --to 'b' --allow-rejected")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["load"], "OLIST is not set: make load OLIST=DIR"),
        (["backfill", "FROM=2018-01-01"], "TO is not set: make backfill FROM=2018-01-01 TO=2018-02-01"),
        (["backfill", "TO=2018-01-01"], "FROM is not set: make backfill FROM=2018-01-01 TO=2018-02-01"),
        (["rollback"], "BATCH is not set: make rollback BATCH=12"),
        (["table"], "TABLE is not set: make table TABLE=schema.name"),
        (["tables"], "SCHEMA is not set: make tables SCHEMA=name"),
        (["new"], "DIR is not set: make new DIR=../my-etl"),
        (["as-of", "BATCH=1"], "TABLE is not set: make as-of BATCH=12 TABLE=name"),
        pytest.param(
            ["chaos", "RUNS=some"],
            "argument --runs: invalid int value: 'some'",
            marks=pytest.mark.skipif(not (ROOT / "tests" / "e2e").is_dir(), reason="taken out with the shop"),
        ),
    ],
)
def test_a_missing_or_wrong_variable_is_named(arguments: list[str], message: str) -> None:
    done = make(*arguments)
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
