"""Maintenance of a table on the real engines: it removes old snapshots and unused files, and changes no row."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from medallion import maintenance
from medallion.engines.iceberg import keep_metadata_small
from medallion.run.state import TARGET_FILE_BYTES
from medallion.settings import settings
from stack.settings import ROOT
from support.waiting import wait_until

from ..conftest import Stack

TABLE = "bronze.maintained"
DAYS = 24 * 3600


@pytest.fixture
def table(stack: Stack) -> Iterator[str]:
    """Create a table of six commits in one partition, one of them an update."""
    stack.query_trino(f"drop table if exists {TABLE}")
    stack.query_trino(
        f"create table {TABLE} (id bigint, at timestamp(6), _batch bigint)"
        " with (format_version = 2, partitioning = array['month(at)'])"
    )
    for batch in range(5):
        stack.query_trino(
            f"insert into {TABLE} values ({batch}, timestamp '2018-01-0{batch + 1} 00:00:00', {batch})"
        )
    stack.query_trino(f"update {TABLE} set _batch = 5 where id = 2")
    yield TABLE
    stack.query_trino(f"drop table {TABLE}")


ROWS = [(0, 0), (1, 1), (2, 5), (3, 3), (4, 4)]


def read_rows(stack: Stack, table: str) -> list[tuple[Any, ...]]:
    return stack.query_trino(f"select id, _batch from {table} order by id")


def read_snapshots(stack: Stack, table: str) -> list[int]:
    """Return the ids of the snapshots, in the order of their commits."""
    snapshots = stack.catalog.load_table(table).metadata.snapshots
    return [
        snapshot.snapshot_id
        for snapshot in sorted(snapshots, key=lambda snapshot: snapshot.sequence_number or 0)
    ]


def compact_command(table: str) -> list[str]:
    """Return the arguments of `python -m stack` that compact the table as the task does."""
    tables = json.dumps([{"name": table, "sorted_by": [], "sort": False}])
    context = {"batch": 0, "published_batch": 0, "rebuild": "none", "outdated": [], "lake_catalog": "lake"}
    run = json.dumps(context | {"target_file_bytes": TARGET_FILE_BYTES})
    options = ["--run", run, "--tables", tables, "--min-input-files", "5"]
    script = "include/spark_jobs/compact_tables.py"
    return ["exec", "--", "spark-submit", "--master", "local[2]", script, *options]


def expire(
    stack: Stack, table: str, published: list[int], retention: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings(), "snapshot_retention", retention)
    maintenance.expire_table(stack.catalog.load_table(table), published, "tests")


def test_compaction_after_one_that_was_killed_changes_no_row_and_leaves_one_file(
    stack: Stack, table: str
) -> None:
    figures = maintenance.measure_table(stack.catalog.load_table(table))
    assert (figures.data_files, figures.delete_files) == (6, 1)
    folder = Path(stack.catalog.load_table(table).location().removeprefix("file://"))
    before = set(folder.rglob("*.parquet"))
    command = [sys.executable, "-m", "stack", *compact_command(table)]
    with subprocess.Popen(command, cwd=ROOT, env=stack.environment) as killed:
        # Kill the compaction when it has written its first file.
        wait_until(lambda: set(folder.rglob("*.parquet")) - before, every=0.01)
        killed.kill()
    assert read_rows(stack, table) == ROWS
    stack.run(*compact_command(table))
    assert read_rows(stack, table) == ROWS
    figures = maintenance.measure_table(stack.catalog.load_table(table))
    assert (figures.data_files, figures.delete_files) == (1, 0)


def test_commits_leave_few_manifests(stack: Stack, table: str) -> None:
    keep_metadata_small(stack.catalog.load_table(table))
    for batch in range(6, 14):
        stack.query_trino(f"insert into {table} values ({batch}, timestamp '2018-01-01 00:00:00', {batch})")
    [(manifests,)] = stack.query_trino('select count(*) from bronze."maintained$manifests"')
    assert manifests <= 4
    assert stack.query_trino(f"select count(*) from {table}") == [(13,)]


def test_snapshots_past_their_time_expire(stack: Stack, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    time.sleep(2)
    stack.query_trino(f"insert into {table} values (9, timestamp '2018-01-09 00:00:00', 9)")
    *_, last = read_snapshots(stack, table)
    expire(stack, table, [], timedelta(seconds=1), monkeypatch)
    assert read_snapshots(stack, table) == [last]
    assert read_rows(stack, table) == [*ROWS, (9, 9)]


def test_snapshots_younger_than_the_limit_stay(
    stack: Stack, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = before = read_snapshots(stack, table)
    expire(stack, table, [], timedelta(hours=1), monkeypatch)
    assert read_snapshots(stack, table) == before
    assert stack.query_trino(f"select count(*) from {table} for version as of {first}") == [(0,)]


def test_published_snapshot_and_later_ones_stay_however_old(
    stack: Stack, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "CLOCK_MARGIN", timedelta(seconds=2))
    time.sleep(4)
    for batch in (6, 7):
        stack.query_trino(f"insert into {table} values ({batch}, timestamp '2018-01-10 00:00:00', {batch})")
    *_, published, last = read_snapshots(stack, table)
    time.sleep(2)
    expire(stack, table, [published, last], timedelta(seconds=1), monkeypatch)
    assert read_snapshots(stack, table) == [published, last]
    assert read_rows(stack, f"{table} for version as of {published}") == [*ROWS, (6, 6)]


def test_old_stray_files_are_removed_and_no_link_is_followed(
    stack: Stack, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(stack.catalog.load_table(table).location().removeprefix("file://")) / "data"
    old, young, outside = folder / "old.parquet", folder / "young.parquet", tmp_path / "outside.parquet"
    for path in (old, young, outside):
        path.write_text("left by a writer that was killed")
    (folder / "elsewhere").symlink_to(tmp_path)
    (folder / "alias.parquet").symlink_to(outside)
    age = time.time() - 8 * DAYS
    for path in (*folder.rglob("*.parquet"), outside):
        if path != young:
            os.utime(path, (age, age))
    expire(stack, table, [], timedelta(hours=168), monkeypatch)
    assert not old.exists()
    assert young.exists() and outside.exists()
    assert read_rows(stack, table) == ROWS
