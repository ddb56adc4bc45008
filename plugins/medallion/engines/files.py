"""Files that tasks leave on the machine of a worker: Airflow's logs of our DAGs, and projects of killed dbt tasks."""

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
    """Return whether a file or folder exists and was last written longer ago."""
    try:
        return path.lstat().st_mtime < time.time() - age.total_seconds()
    except FileNotFoundError:
        return False


def delete_old_logs(dags: Collection[str], age: timedelta) -> int:
    """Delete log files of these DAGs that are older, and the folders that are empty then; return how many files."""
    count = 0
    for dag in dags:
        folder = Path(conf.get("logging", "base_log_folder"), f"dag_id={dag}")
        for path in sorted(folder.rglob("*"), reverse=True):  # the files of a folder come before the folder
            if path.is_dir():
                # The folder of a run that is being written has files, or is younger.
                if is_older(path, age):
                    with suppress(OSError):
                        path.rmdir()
            elif is_older(path, age):
                path.unlink(missing_ok=True)
                count += 1
    return count


def delete_left_projects(age: timedelta) -> int:
    """Delete temporary folders with our dbt project that killed tasks left and that are older; return how many.

    Cosmos makes a folder of links to the project for each task.
    """
    folders = [
        path
        for path in Path(tempfile.gettempdir()).glob("tmp*")
        if is_older(path, age)
        and (path / PROJECT_FILE).is_symlink()
        and (path / PROJECT_FILE).readlink() == DBT_PROJECT / PROJECT_FILE
    ]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)  # removes links, not the files behind them
    return len(folders)
