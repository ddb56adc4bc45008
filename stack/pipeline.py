"""`make run`: from nothing to published gold, with what it took."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import trino
from psycopg2 import sql
from rich.table import Column, Table

from stack import supervisor
from stack.airflow_api import AirflowApi
from stack.console import console, table_console
from stack.environment import HOST, environment, exports
from stack.errors import StackError
from stack.lifecycle import up
from stack.settings import ROOT, Settings

DAG = "medallion_hourly"
RECONCILE_DAG = "medallion_reconcile"
MAINTENANCE_DAG = "medallion_maintenance"
ROLLBACK_DAG = "medallion_rollback"


def query(url: str, statement: str | sql.Composed) -> list[tuple[Any, ...]]:
    """Return the rows of one statement on the database `url`."""
    with psycopg2.connect(url, connect_timeout=10) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def first_change(settings: Settings) -> datetime | None:
    """Return the smallest `updated_at` at the source; None where the shop has no table or no row."""
    url = exports(settings)["SOURCE_URL"]
    tables = query(
        url,
        "select table_name from information_schema.columns where table_schema = 'sales' and column_name = 'updated_at'",
    )
    oldest = sql.SQL("select min(updated_at) from sales.{}")
    found = [query(url, oldest.format(sql.Identifier(name)))[0][0] for (name,) in tables]
    return min((moment for moment in found if moment), default=None)


def publication(settings: Settings) -> tuple[Any, ...] | None:
    """Return (run_id, batch, window_end, published_at) of the gold that BI sees; None where nothing was published."""
    url = exports(settings)["GOLD_URL"]
    if query(url, "select to_regclass('gold.publication')") == [(None,)]:
        return None
    rows = query(url, "select run_id, batch, window_end, published_at from gold.publication")
    return rows[0] if rows else None


def on_trino(settings: Settings, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the columns and the rows of one statement on Trino, catalog `lake`. Raises StackError with its words."""
    with trino.dbapi.Connection(
        HOST, settings.trino_port, "medallion", catalog="lake", timezone="UTC"
    ) as connection:
        cursor = connection.cursor()
        try:
            rows = [tuple(row) for row in cursor.execute(statement).fetchall()]
        except (trino.exceptions.Error, OSError) as error:
            raise StackError(
                f"Trino at {HOST}:{settings.trino_port} refuses it, or does not answer (make status): {error}"
            ) from None
        return [column[0] for column in cursor.description or []], rows


def show(title: str, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    """Print rows as a table; times are UTC."""
    table = Table(*(Column(name, overflow="fold") for name in columns), title=title)
    for row in rows:
        table.add_row(*("" if value is None else str(value).removesuffix("+00:00") for value in row))
    table_console.print(table)


def show_publications(settings: Settings, count: int) -> None:
    """Print the latest publications, the newest first."""
    columns, rows = on_trino(
        settings,
        "select batch, date_trunc('second', published_at) as published_at,"
        " date_trunc('second', window_end) as window_end, run_id"
        " from postgres_gold.audit.publications"
        f" order by batch desc limit {count}",
    )
    show("Publications (audit.publications), UTC", columns, rows)


def show_as_of(settings: Settings, batch: int, table: str, count: int) -> None:
    """Print the first rows of a gold table as the publication by `batch` has it, and the statement that gives all.

    Raises StackError where there is no such publication or table, or its snapshot has expired.
    """
    _, found = on_trino(
        settings,
        f"select json_extract_scalar(snapshots, '$[\"gold.{table}\"]') from postgres_gold.audit.publications"
        f" where batch = {batch}",
    )
    if not found or found[0][0] is None:
        raise StackError(f"No publication by batch {batch} has a table {table}. See: make publications")
    statement = f"select * from lake.gold.{table} for version as of {found[0][0]}"
    columns, rows = on_trino(settings, f"{statement} order by 1, 2 limit {count}")
    show(f"gold.{table} as of batch {batch}", columns, rows)
    console.print(f"All rows, in Trino:  {statement}", soft_wrap=True)


def shop(settings: Settings, *arguments: str) -> None:
    """Run a command of the reference shop. Raises StackError where it fails; it has said why itself."""
    command = [sys.executable, "-m", "sample", *arguments]
    if subprocess.run(command, cwd=ROOT, env=environment(settings), check=False).returncode:
        raise StackError(f"The shop's command failed: sample {' '.join(arguments)}")


def follow(airflow: AirflowApi, dag: str, run: str) -> None:
    """Name the run, let it run, and follow it to its end."""
    console.print(f"Run {run}: {airflow.url}/dags/{dag}/runs/{run}", soft_wrap=True)
    airflow.unpause(dag)
    airflow.follow(dag, run)


def trigger(settings: Settings, params: dict[str, Any], dag: str = DAG) -> None:
    """Run `dag` once with `params` and follow it to its end."""
    with AirflowApi(settings) as airflow:
        airflow.wait_dag(dag)
        follow(airflow, dag, airflow.trigger(dag, params))


def run_history(settings: Settings, start: datetime) -> None:
    """Run the DAG over everything since `start`; a run of that kind that an earlier call left is followed instead."""
    with AirflowApi(settings) as airflow:
        airflow.wait_dag(DAG)
        left = [
            each["dag_run_id"] for each in airflow.active(DAG) if (each["conf"] or {}).get("window_start")
        ]
        window = {"window_start": start.isoformat(), "window_end": datetime.now(UTC).isoformat()}
        # Due before the last hour's run, which Airflow makes as soon as the DAG is unpaused.
        follow(airflow, DAG, left[0] if left else airflow.trigger(DAG, window, due=start))


def backfill(settings: Settings, start: datetime, end: datetime) -> None:
    """Run each hour of [start, end), UTC, as a run of its own, and follow them. Raises StackError where one failed."""
    with AirflowApi(settings) as airflow:
        airflow.wait_dag(DAG)
        airflow.unpause(DAG)
        airflow.backfill(DAG, start, end)


def show_results(settings: Settings) -> None:
    """Print the gold tables' row counts and the best months, as BI reads them."""
    url = exports(settings)["GOLD_URL"]
    counts = []
    for (name,) in query(
        url, "select table_name from information_schema.tables where table_schema = 'gold' order by 1"
    ):
        [(count,)] = query(url, sql.SQL("select count(*) from gold.{}").format(sql.Identifier(name)))
        counts.append((name, f"{count:,}"))
    show("PostgreSQL, schema gold", ["table", "rows"], counts)
    best = query(
        url,
        "select category, sum(sales), sum(bills), sum(items) from gold.sales_by_category_month"
        " group by category order by 2 desc limit 5",
    )
    show(
        "The best-selling categories",
        ["category", "sales", "bills", "items"],
        [(category, *(f"{value:,}" for value in values)) for category, *values in best],
    )


def run(settings: Settings, olist: Path | None, orders: int) -> None:
    """Start all, fill an empty shop, publish its history, then a burst of changes; print results and times.

    Raises StackError unless gold was published by the last run.
    """
    times: list[tuple[str, float]] = []

    @contextmanager
    def step(name: str) -> Iterator[None]:
        console.rule(name, align="left")
        began = time.monotonic()
        yield
        times.append((name, time.monotonic() - began))

    with step("Set up and start"):
        up(settings)
    start = first_change(settings)
    if start and olist:
        console.print(
            "The shop has rows already: OLIST is not loaded. Begin anew by `make clean`, or replace the shop's rows:"
            "\n`make load REPLACE=1 OLIST=…`, `make backfill FROM=… TO=…`, `make reconcile ALLOW_DELETES=1`."
        )
    if start is None:
        with step("Fill the shop"):
            shop(settings, *(["load", str(olist)] if olist else ["generate", "--orders", str(orders)]))
        start = first_change(settings)
        if start is None:
            raise StackError("The shop is still empty: nothing to run on.")
    before = publication(settings)
    # One without a window was made of an empty shop.
    if before is None or before[2] is None:
        with step("The whole history, in one run"):
            run_history(settings, start.astimezone(UTC))
        before = publication(settings)
    with step("A burst of orders, and the next run"):
        shop(settings, "live")
        trigger(settings, {})
    after = publication(settings)
    if after is None or after == before:
        raise StackError("The run ended, but published nothing; see its task `publish` in Airflow.")
    if settings.shop == "on":
        supervisor.start("shop", settings)

    show_results(settings)
    show("Times", ["step", "seconds"], [(name, f"{seconds:.0f}") for name, seconds in times])
    login = exports(settings)
    console.print(
        f"Airflow  {login['AIRFLOW_URL']}  (user {login['AIRFLOW_USER']})\n"
        f"Trino    {login['TRINO_URL']}  (user {login['TRINO_USER']}, no password)\n"
        f'Passwords stand in {settings.home / "secrets.env"}; for a shell:  eval "$(make -s env)"\n'
        "The next hours run by themselves. Stop everything:  make down"
    )
