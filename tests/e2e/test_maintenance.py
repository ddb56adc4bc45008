"""Maintenance on the real engines: what it removes, what it must not, and that no row changes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from medallion import maintenance
from medallion.settings import settings
from stack.airflow_api import AirflowApi
from stack.environment import environment
from stack.pipeline import MAINTENANCE_DAG
from stack.settings import ROOT
from support.waiting import wait_until

from .conftest import Stack

TABLE = "bronze.maintained"
DAYS = 24 * 3600


@pytest.fixture
def table(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A table of 6 commits in one partition, one of them an update; our code finds the stack's Trino."""
    name = "AIRFLOW_CONN_MEDALLION_TRINO"
    monkeypatch.setenv(name, environment(stack.settings)[name])
    stack.lake(f"drop table if exists {TABLE}")
    stack.lake(
        f"create table {TABLE} (id bigint, at timestamp(6), _batch bigint)"
        " with (format_version = 2, partitioning = array['month(at)'])"
    )
    for batch in range(5):
        stack.lake(
            f"insert into {TABLE} values ({batch}, timestamp '2018-01-0{batch + 1} 00:00:00', {batch})"
        )
    stack.lake(f"update {TABLE} set _batch = 5 where id = 2")
    yield TABLE
    stack.lake(f"drop table {TABLE}")


ROWS = [(0, 0), (1, 1), (2, 5), (3, 3), (4, 4)]


def rows(stack: Stack, table: str) -> list[tuple[Any, ...]]:
    return stack.lake(f"select id, _batch from {table} order by id")


def snapshots(stack: Stack, table: str) -> list[int]:
    """The ids of the snapshots, in the order of their commits."""
    found = sorted(
        stack.catalog.load_table(table).metadata.snapshots, key=lambda each: each.sequence_number or 0
    )
    return [each.snapshot_id for each in found]


def compact_command(stack: Stack, table: str) -> list[str]:
    tables = json.dumps([{"name": table, "sorted_by": [], "sort": False}])
    context = {"batch": 0, "published_batch": 0, "rebuild": "none", "lake_catalog": "lake"}
    run = json.dumps(context | {"target_file_bytes": maintenance.TARGET_BYTES})
    options = ["--run", run, "--tables", tables, "--min-input-files", "5"]
    return [
        "exec",
        "--",
        "spark-submit",
        "--master",
        "local[2]",
        "include/spark_jobs/compact_tables.py",
        *options,
    ]


def expire(
    stack: Stack, table: str, published: list[int], retention: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings(), "snapshot_retention", retention)
    maintenance.expire_table(stack.catalog.load_table(table), published, "tests")


def test_compaction_changes_no_row_and_leaves_one_file(stack: Stack, table: str) -> None:
    before = maintenance.figures(stack.catalog.load_table(table))
    assert (before.data_files, before.delete_files) == (6, 1)
    stack.run(*compact_command(stack, table))
    after = maintenance.figures(stack.catalog.load_table(table))
    assert (after.data_files, after.delete_files) == (1, 0)
    assert rows(stack, table) == ROWS


def test_compaction_that_was_killed_is_done_by_the_next(stack: Stack, table: str) -> None:
    folder = Path(stack.catalog.load_table(table).location().removeprefix("file://"))
    before = set(folder.rglob("*.parquet"))
    command = [sys.executable, "-m", "stack", *compact_command(stack, table)]
    with subprocess.Popen(command, cwd=ROOT, env=stack.environment) as killed:
        # It writes its first file.
        wait_until(lambda: set(folder.rglob("*.parquet")) - before, every=0.01)
        killed.kill()
    assert rows(stack, table) == ROWS
    stack.run(*compact_command(stack, table))
    assert rows(stack, table) == ROWS
    assert maintenance.figures(stack.catalog.load_table(table)).data_files == 1


def test_snapshots_past_their_time_expire(stack: Stack, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    time.sleep(2)
    stack.lake(f"insert into {table} values (9, timestamp '2018-01-09 00:00:00', 9)")
    *_, last = snapshots(stack, table)
    expire(stack, table, [], timedelta(seconds=1), monkeypatch)
    assert snapshots(stack, table) == [last]
    assert rows(stack, table) == [*ROWS, (9, 9)]


def test_snapshots_younger_than_the_limit_stay(
    stack: Stack, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = before = snapshots(stack, table)
    expire(stack, table, [], timedelta(hours=1), monkeypatch)
    assert snapshots(stack, table) == before
    assert stack.lake(f"select count(*) from {table} for version as of {first}") == [(0,)]


def test_published_snapshot_and_later_ones_stay_however_old(
    stack: Stack, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "CLOCK_MARGIN", timedelta(seconds=2))
    time.sleep(4)
    for batch in (6, 7):
        stack.lake(f"insert into {table} values ({batch}, timestamp '2018-01-10 00:00:00', {batch})")
    *_, published, last = snapshots(stack, table)
    time.sleep(2)
    expire(stack, table, [published, last], timedelta(seconds=1), monkeypatch)
    assert snapshots(stack, table) == [published, last]
    assert rows(stack, f"{table} for version as of {published}") == [*ROWS, (6, 6)]


def test_stray_files_go_once_they_are_old_and_no_link_is_followed(
    stack: Stack, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(stack.catalog.load_table(table).location().removeprefix("file://")) / "data"
    old, young, outside = folder / "old.parquet", folder / "young.parquet", tmp_path / "outside.parquet"
    for path in (old, young, outside):
        path.write_text("of a writer that was killed")
    (folder / "elsewhere").symlink_to(tmp_path)
    (folder / "alias.parquet").symlink_to(outside)
    age = time.time() - 8 * DAYS
    for path in (*folder.rglob("*.parquet"), outside):
        if path != young:
            os.utime(path, (age, age))
    expire(stack, table, [], timedelta(hours=168), monkeypatch)
    assert not old.exists()
    assert young.exists() and outside.exists()
    assert rows(stack, table) == ROWS


@pytest.mark.long
def test_small_commits_leave_files_and_metadata_bounded(stack: Stack, tmp_path: Path) -> None:
    found = tmp_path / "figures.json"
    options = ["--commits", "500", "--rows", "2000", "--json", str(found)]
    stack.run("exec", "--", "python", "bench/small_commits.py", *options)
    results = json.loads(found.read_text())
    assert [(each["maintenance"], each["layer"]) for each in results] == [
        (when, layer) for when in ("before", "after") for layer in ("bronze", "silver", "gold")
    ]
    for each in results:
        # A day's commits are 24 at most; fewer than five are left alone.
        assert each["most_small_files"] < (5 if each["maintenance"] == "after" else 24 + 5)
        assert each["manifests"] < 10 + (0 if each["maintenance"] == "after" else 2 * 24)


def test_daily_run_leaves_gold_and_the_publication_as_they_are(stack: Stack, first_run: str) -> None:
    before = stack.published()
    facts = "select count(*), checksum(order_id), checksum(payment_value), checksum(_batch) from silver.fact_sales"
    [held] = stack.lake(facts)
    stack.run("maintain")
    with AirflowApi(stack.settings) as airflow:
        # The schedule's own run, which Airflow makes as the DAG is unpaused.
        for left in airflow.active(MAINTENANCE_DAG):
            airflow.follow(MAINTENANCE_DAG, left["dag_run_id"])
    assert stack.lake(facts) == [held]
    assert stack.published() == before

    order = [("order_purchase_timestamp", "ascending"), ("customer_id", "ascending")]
    for scanned in stack.catalog.load_table("silver.fact_sales").scan().plan_files():
        path = scanned.file.file_path.removeprefix("file:")
        found = pq.ParquetFile(path).read(columns=[name for name, _ in order])
        assert found == found.sort_by(order), path
    [(published,)] = stack.audit("select published_snapshots::text from audit.pipeline")
    for name, snapshot in json.loads(published).items():
        assert stack.lake(f"select count(*) >= 0 from {name} for version as of {snapshot}") == [(True,)]
    assert stack.audit("select lease_run_id from audit.pipeline") == [(None,)]
    told = stack.audit(
        "select task_id from audit.data_pipeline_runs"
        " where dag_id = ''medallion_maintenance'' and status = ''success'' group by 1 order by 1"
    )
    assert told == [("compact",), ("end",), ("expire",), ("measure",)]
