"""Measure an hourly run over the published history: after the changes of an hour, and without changes."""

import time
from datetime import UTC, datetime, timedelta

import click
from psycopg2 import sql

from bench.meter import record, report, show_costs
from bench.runs import count_orders, measure_hours, measure_run, prepare, runs_option
from medallion.settings import settings as medallion_settings
from stack.demo import shop
from stack.pipeline import query, source_dsn, source_tables, trigger
from stack.settings import Settings


@click.command()
@runs_option
def hour(runs: int) -> None:
    """Run the pipeline after the changes of an hour: 1,000 orders, and 10 customers, products and sellers each."""
    settings = prepare()
    costs, goal = measure_hours(settings, runs), "at most 45 s over 100,000 orders, 60 s over a million"
    report("hour", costs, goal, count_orders(settings))


def last_change(settings: Settings) -> datetime:
    """Return the time of the newest change at the source."""
    newest = "select max({})::timestamptz from {}"
    moments: list[datetime | None] = [
        query(
            source_dsn(settings),
            sql.SQL(newest).format(sql.Identifier(cursor), sql.Identifier(schema, table)),
        )[0][0]
        for schema, table, cursor, _ in source_tables()
        if cursor
    ]
    return max(moment for moment in moments if moment)


@click.command()
@runs_option
def quiet(runs: int) -> None:
    """Run the pipeline without a change at the source, and after the change of one row."""
    settings = prepare()
    # A run also reads the rows of the lookback before its window. Wait until the last change is older than that.
    idle_from = last_change(settings) + medallion_settings().lookback + timedelta(seconds=10)
    if (seconds := (idle_from - datetime.now(UTC)).total_seconds()) > 0:
        print(f"Waiting {seconds:.0f} s, until no run finds the last change …")
        time.sleep(seconds)
    trigger(settings, {})
    idle = [measure_run(settings) for _ in range(runs)]
    single = []
    for _ in range(runs):
        shop(settings, "change", "--orders", "0", "--customers", "1", "--products", "0", "--sellers", "0")
        single.append(measure_run(settings))
    show_costs("one changed row", single)
    record("quiet, one changed row", sorted(cost.seconds for cost in single)[runs // 2], "s", "at most 25 s")
    report("quiet", idle, "at most 10 s and 10 CPU s", count_orders(settings))
