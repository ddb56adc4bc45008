"""Compare an hourly run with a full refresh, in which `dbt build` rebuilds all tables and copies gold to PostgreSQL."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from bench.meter import measure, median, record, show_costs
from bench.runs import count_orders, measure_hours, prepare, runs_option
from medallion.project.contracts import gold_tables
from medallion.settings import DBT_PROJECT
from stack.errors import StackError
from stack.pipeline import on_trino, source_tables
from stack.settings import Settings

SCHEMA = "full_refresh"
# PostgreSQL's schema for the copies of gold. No BI tool reads it, and each publication drops its tables.
COPIES = "staging"
PROJECT = {
    "name": SCHEMA,
    "profile": "medallion",
    "flags": {"send_anonymous_usage_stats": False},
    "models": {SCHEMA: {"+materialized": "table", "+schema": SCHEMA}},
}
SCHEMA_NAME = "{% macro generate_schema_name(name, node) %}{{ name }}{% endmacro %}"


def models() -> dict[str, str]:
    """Return model -> select: copies of the source tables, the models of full_refresh.sql, and copies of gold."""
    blocks = re.split(
        r"^-- model: (\w+)\n", Path(__file__).with_name(f"{SCHEMA}.sql").read_text(), flags=re.M
    )
    copy = f"{{{{ config(database='postgres_gold', schema='{COPIES}') }}}} select * from {{{{ ref('%s') }}}}"
    return (
        {f"raw_{table}": f"select * from postgres.{schema}.{table}" for schema, table, *_ in source_tables()}
        | dict(zip(blocks[1::2], blocks[2::2], strict=True))
        | {f"full_refresh_{table.name}": copy % table.name for table in gold_tables()}
    )


@contextmanager
def full_refresh(settings: Settings) -> Iterator[Callable[[], None]]:
    """Yield a function that rebuilds all tables by one `dbt build`; drop these tables at the end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "models").mkdir()
        (folder / "macros").mkdir()
        (folder / "macros" / "schema_name.sql").write_text(SCHEMA_NAME)
        (folder / "dbt_project.yml").write_text(json.dumps(PROJECT))
        shutil.copy(DBT_PROJECT / "profiles.yml", folder)
        for model, select in models().items():
            (folder / "models" / f"{model}.sql").write_text(select)

        def build() -> None:
            command: list[str | Path] = [Path(sys.executable).with_name("dbt"), "--no-version-check", "build"]
            command += ["--project-dir", folder, "--profiles-dir", folder]
            done = subprocess.run(
                command, env={**os.environ, "DBT_LOG_PATH": name}, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise StackError(f"The full refresh failed:\n{done.stdout[-3000:]}")

        try:
            yield build
        finally:
            on_trino(settings, f"drop schema if exists lake.{SCHEMA} cascade")
            for table in gold_tables():
                on_trino(settings, f"drop table if exists postgres_gold.{COPIES}.full_refresh_{table.name}")


@click.command()
@runs_option
def peer(runs: int) -> None:
    """Compare an hourly run with rebuilding every table from the source by one `dbt build`."""
    settings = prepare()
    with full_refresh(settings) as build:
        build()  # the first build is not measured: dbt parses the project, and the engines warm up
        rebuilt = [measure(settings, build) for _ in range(runs)]
    hours = measure_hours(settings, runs)
    show_costs("full refresh", rebuilt)
    show_costs("hour", hours)
    ratios = [theirs / ours for theirs, ours in zip(median(rebuilt), median(hours), strict=True)]
    print(
        f"A full refresh costs {ratios[0]:.2f} times the seconds and {ratios[1]:.2f} times the CPU of an hour."
    )
    record(
        "peer", min(ratios), "times cheaper", "above 1, at least 10 over a million orders",
        {"full refresh": rebuilt, "hour": hours}, count_orders(settings),
    )  # fmt: skip
