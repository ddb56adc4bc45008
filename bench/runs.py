"""Measure runs of the pipeline, each after changes of rows at the source."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import click

from bench.meter import Cost, measure
from medallion.names import HOURLY_DAG
from stack import supervisor
from stack.airflow_api import AirflowApi
from stack.demo import shop
from stack.errors import StackError
from stack.pipeline import follow, publication, query, source_dsn, trigger
from stack.settings import Settings

# The changes of an hour, as arguments of `python -m sample`: 1,000 orders of the last 30 days with their items,
# payments and reviews, and 10 customers, products and sellers each.
INCREMENT = (
    "change",
    "--orders",
    "1000",
    "--days",
    "30",
    "--customers",
    "10",
    "--products",
    "10",
    "--sellers",
    "10",
)

runs_option = click.option(
    "--runs", default=3, show_default=True, help="Runs to measure; the result is their median."
)


def prepare() -> Settings:
    """Stop the trade in the shop, publish its last changes, and return the stack's settings.

    Raises StackError if nothing was published yet.
    """
    settings = Settings()
    if not publication(settings):
        raise StackError("The stack has published nothing yet: make run")
    supervisor.stop("shop", settings)  # trade would change rows between two runs
    trigger(settings, {})
    return settings


def prepare_empty() -> Settings:
    """Stop the trade in the shop, and return the stack's settings. Raises StackError if something was published."""
    settings = Settings()
    if publication(settings):
        raise StackError(
            "This stack has published already. Measure on an empty one: make clean, make up SHOP=off"
        )
    supervisor.stop("shop", settings)
    return settings


def count_orders(settings: Settings) -> int:
    """Return the number of orders at the source."""
    return int(query(source_dsn(settings), "select count(*) from sales.orders")[0][0])


def window(start: datetime, end: datetime) -> dict[str, str]:
    """Return the parameters of a run over a range."""
    return {"window_start": start.isoformat(), "window_end": end.isoformat()}


def whole_history() -> dict[str, str]:
    """Return the parameters of a run over the whole history of a generated shop."""
    return window(datetime(1990, 1, 1, tzinfo=UTC), datetime.now(UTC))


def measure_run(settings: Settings, params: Mapping[str, Any] | None = None) -> Cost:
    """Run the pipeline and return its cost. The seconds are from the run's start to its publication.

    Raises StackError if the run published nothing.
    """
    before = publication(settings)
    with AirflowApi(settings) as airflow:
        airflow.wait_dag(HOURLY_DAG)
        # Airflow starts the run that has been due for the longest time. A scheduled run may be due, too, so let this
        # run be due since yesterday.
        due = datetime.now(UTC) - timedelta(days=1)
        cost = measure(
            settings,
            lambda: follow(airflow, HOURLY_DAG, airflow.trigger(HOURLY_DAG, dict(params or {}), due)),
        )
        after = publication(settings)
        if after is None or after == before:
            raise StackError("The run published nothing.")
        run, *_, published_at = after
        record = airflow.call("GET", f"/api/v2/dags/{HOURLY_DAG}/dagRuns/{quote(run, safe='')}")
        instances = airflow.tasks(HOURLY_DAG, run)
    began = datetime.fromisoformat(record["start_date"])

    def since_start(moment: str) -> float:
        return (datetime.fromisoformat(moment) - began).total_seconds()

    tasks = [
        (task["task_id"], since_start(task["start_date"]), since_start(task["end_date"]))
        for task in instances
        if task["state"] == "success"
    ]
    return replace(cost, seconds=(published_at - began).total_seconds(), tasks=tasks)


def measure_hours(settings: Settings, runs: int) -> list[Cost]:
    """Return the costs of runs, each after the changes of an hour."""
    costs = []
    for _ in range(runs):
        shop(settings, *INCREMENT)
        costs.append(measure_run(settings))
    return costs
