"""Measure the time of loading the DAG files, without the time of importing Airflow and Cosmos."""

import subprocess
import sys
import time
from statistics import median

import click

from bench.meter import record
from stack.settings import ROOT

LIBRARIES = "import airflow.sdk, cosmos, airflow.providers.apache.spark.operators.spark_submit"
DAGS = "import runpy; [runpy.run_path(str(path)) for path in sorted(__import__('pathlib').Path('dags').glob('*.py'))]"


def seconds_of(code: str) -> float:
    """Return the seconds that Python takes to run `code` in a new process."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)
    return time.monotonic() - start


@click.command("import")
@click.option("--times", default=5, show_default=True, help="Number of measurements.")
def import_dags(times: int) -> None:
    """Measure the time to load all DAG files, beyond the time to import Airflow and Cosmos."""
    pairs = [(seconds_of(f"{LIBRARIES}; {DAGS}"), seconds_of(LIBRARIES)) for _ in range(times)]
    record("import", median(dags - libraries for dags, libraries in pairs), "s", "at most 0.3 s")
