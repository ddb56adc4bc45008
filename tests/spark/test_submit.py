"""The script `submit`: which program it starts, depending on the master, and with which arguments."""

import subprocess
import sys
from pathlib import Path

import pytest

from medallion.settings import SPARK_JOBS

TAG = "medallion dag.task"
OPTIONS = ("--conf", "a=b c", "--name", TAG)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A script that prints the Spark server, its Python options and its arguments."""
    script = tmp_path / "job.py"
    script.write_text("import os, sys; print(os.environ.get('SPARK_REMOTE'), sys._xoptions, sys.argv[1:])")
    return script


def submit(master: str, job: Path, path: str) -> str:
    """Submit the job to a master and return its output. `path`: folder that is searched first for programs."""
    command = [SPARK_JOBS / "submit", "--master", master, *OPTIONS, job, "--run", '{"a": 1}']
    environment = {"PATH": f"{path}:/usr/bin:/bin", "PYSPARK_PYTHON": sys.executable}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def test_client_of_a_connect_server_is_plain_python(job: Path, tmp_path: Path) -> None:
    """The tag is on the client's command line, so that a later attempt of the task can find the process and end it."""
    printed = submit("sc://spark.example:15002", job, str(tmp_path))
    assert printed == f"sc://spark.example:15002 {{'{TAG}': True}} ['--run', '{{\"a\": 1}}']\n"


@pytest.mark.parametrize("master", ["local[2]", "spark://spark.example:7077", "yarn"])
def test_other_masters_get_spark_submit(master: str, job: Path, tmp_path: Path) -> None:
    program = tmp_path / "spark-submit"
    program.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    program.chmod(0o755)
    assert submit(master, job, str(tmp_path)).split("|")[:6] == ["--master", master, *OPTIONS]
