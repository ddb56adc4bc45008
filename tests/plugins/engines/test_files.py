"""Maintenance deletes old logs of our DAGs and the dbt folders of killed tasks, and nothing else."""

import os
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import pytest
from cosmos.dbt.project import create_symlinks

from medallion.engines.files import delete_left_projects, delete_old_logs
from medallion.names import HOURLY_DAG
from medallion.settings import DBT_PROJECT

DAY = timedelta(days=1)


def age(path: Path, days: float) -> None:
    """Set the modification time of a file or folder to some days ago."""
    moment = time.time() - days * DAY.total_seconds()
    os.utime(path, (moment, moment))


def write_log(folder: Path, dag: str, run: str, days: float) -> Path:
    path = folder / f"dag_id={dag}" / f"run_id={run}" / "task_id=a" / "attempt=1.log"
    path.parent.mkdir(parents=True)
    path.touch()
    for part in (path, path.parent, path.parents[1]):
        age(part, days)
    return path


def test_old_logs_of_our_dags_are_deleted_with_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", str(tmp_path))
    old, new = (write_log(tmp_path, HOURLY_DAG, str(days), days) for days in (31, 29))
    other = write_log(tmp_path, "somebody_else", "a", 100)
    assert delete_old_logs([HOURLY_DAG, "never_ran"], 30 * DAY) == 1
    assert not old.exists() and new.exists() and other.exists()
    assert not old.parents[1].exists() and new.parents[1].exists()
    assert delete_old_logs([HOURLY_DAG], 30 * DAY) == 0


def test_projects_of_killed_tasks_are_deleted_and_the_project_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left, running, other = (Path(tempfile.mkdtemp()) for _ in range(3))
    for folder in (left, running):
        create_symlinks(DBT_PROJECT, folder, ignore_dbt_packages=False)
    for folder in (left, other):
        age(folder, 2)
    assert delete_left_projects(DAY) == 1
    assert not left.exists() and running.exists() and other.exists()
    assert (DBT_PROJECT / "dbt_project.yml").exists() and (DBT_PROJECT / "models").is_dir()
