"""Leftovers of earlier attempts: which statements and Spark drivers are ended, and the error if an engine is down."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medallion.engines.leftovers import (
    ANY_TAG,
    UNFINISHED,
    EngineDownError,
    end_earlier_attempt,
    end_spark_drivers,
    end_statements,
    tag,
)
from support.task_instance import Task


@pytest.fixture
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> int:
    """Point the Trino connection to a port that nobody listens on; returns the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
    monkeypatch.setenv(
        "AIRFLOW_CONN_MEDALLION_TRINO",
        json.dumps({"conn_type": "trino", "host": "127.0.0.1", "port": port, "login": "medallion"}),
    )
    return port


def test_trino_that_is_down_is_named_with_its_address(nobody_listens: int) -> None:
    with pytest.raises(EngineDownError, match=f"127.0.0.1:{nobody_listens} .connection medallion_trino"):
        end_statements("medallion .*")


def test_first_attempt_has_no_statement_to_end(nobody_listens: int) -> None:
    end_earlier_attempt({"ti": Task("a", try_number=1)})
    with pytest.raises(EngineDownError):
        end_earlier_attempt({"ti": Task("a", try_number=2)})


@pytest.fixture
def drivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Start processes that look like Spark drivers: three of ours, and one each of others that must not be ended."""
    wait = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    monkeypatch.setattr("medallion.engines.leftovers.SPARK_JOBS", tmp_path)
    jobs = {
        "medallion dag.first": str(tmp_path / "build_entities.py"),
        "medallion dag.second": str(tmp_path / "build_entities.py"),
        "medallion maintenance.compact": str(tmp_path / "compact_tables.py"),
        "another project": "/srv/other/build_entities.py",
        "an editor": str(tmp_path / "build_entities.py"),
    }
    started = {
        name: subprocess.Popen([*wait, "--name", name, job], stdin=subprocess.PIPE)
        for name, job in jobs.items()
    }
    started["another Airflow"] = subprocess.Popen(
        [*wait, "--name", "medallion dag.first", jobs["medallion dag.first"]],
        stdin=subprocess.PIPE,
        env=os.environ | {"AIRFLOW_HOME": "/srv/airflow"},
    )
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


def test_only_the_driver_of_the_task_is_ended(drivers: dict[str, subprocess.Popen[bytes]]) -> None:
    end_spark_drivers("medallion dag.first")
    assert [name for name, process in drivers.items() if process.poll() is not None] == [
        "medallion dag.first"
    ]


def test_all_drivers_of_ours_are_ended_and_no_other(drivers: dict[str, subprocess.Popen[bytes]]) -> None:
    end_spark_drivers(None)
    assert [name for name, process in drivers.items() if process.poll() is None] == [
        "another project",
        "an editor",
        "another Airflow",
    ]


def test_tags_of_tasks_match_and_those_of_people_do_not() -> None:
    assert re.fullmatch(ANY_TAG, tag(Task("a", "gold.readings_by_day")))
    assert not re.fullmatch(ANY_TAG, "medallion by hand")


def statement_pattern(tag: str) -> str:
    """Return the pattern by which Trino finds the statements with a tag."""
    [pattern] = re.findall(r"regexp_like\(query, '(.*)'\)", UNFINISHED.format(tag=tag))
    return str(pattern)


@pytest.mark.parametrize(
    ("statement", "ours"),
    [
        ("/* medallion medallion_hourly.gold.readings_by_day */\nselect 1", True),
        ("\n  /* medallion medallion_hourly.audit */ create table x as select 1", True),
        ("/* medallion by hand */ select 1", False),
        ("select 1 /* medallion medallion_hourly.audit */", False),
        ("/* finance monthly.report */ select 1", False),
    ],
)
def test_statements_of_our_tasks_are_known_by_their_beginning(statement: str, ours: bool) -> None:
    assert bool(re.search(statement_pattern(ANY_TAG), statement)) is ours


def test_statements_of_one_task_are_not_those_of_another() -> None:
    pattern = statement_pattern("medallion medallion_hourly.gold.readings")
    assert re.search(pattern, "/* medallion medallion_hourly.gold.readings */ select 1")
    assert not re.search(pattern, "/* medallion medallion_hourly.gold.readings_by_day */ select 1")
