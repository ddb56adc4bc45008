"""Delete files that tasks leave on a worker's machine: Airflow's logs of our DAGs, and folders of killed dbt tasks."""

import shutil
import tempfile
import time
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from airflow.configuration import conf

from medallion.settings import DBT_PROJECT

PROJECT_FILE = "dbt_project.yml"


def is_older(path: Path, age: timedelta) -> bool:
    """Return whether a file or folder exists and was last written longer than `age` ago."""
    try:
        return path.lstat().st_mtime < time.time() - age.total_seconds()
    except FileNotFoundError:
        return False


def delete_old_logs(dags: Collection[str], age: timedelta) -> int:
    """Delete log files of `dags` that are older than `age`, and empty old folders; return the number of files."""
    count = 0
    for dag in dags:
        folder = Path(conf.get("logging", "base_log_folder"), f"dag_id={dag}")
        # The files of a folder come before it. Their ages are read first, because a folder from which a file is deleted
        # counts as written.
        old = [path for path in sorted(folder.rglob("*"), reverse=True) if is_older(path, age)]
        for path in old:
            with suppress(OSError):  # the folder has newer files, or another user owns the path
                if path.is_dir():
                    path.rmdir()
                else:
                    path.unlink()
                    count += 1
    return count


def delete_left_projects(age: timedelta) -> int:
    """Delete folders of killed dbt tasks that are older than `age`; return the number of folders.

    For each task Cosmos makes a temporary folder with links to the files of the dbt project.
    """
    count = 0
    for path in Path(tempfile.gettempdir()).glob("tmp*"):
        with suppress(OSError):  # the folder is another user's, or it has gone
            project = path / PROJECT_FILE
            if (
                is_older(path, age)
                and project.is_symlink()
                and project.readlink() == DBT_PROJECT / PROJECT_FILE
            ):
                shutil.rmtree(path)  # removes links, not the files behind them
                count += 1
    return count
