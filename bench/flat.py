"""Compare the cost of hourly runs over a short and a long history: seconds by layer, CPU seconds, megabytes.

    make bench NAME='flat --orders 500000 --times 10'

The benchmark generates a shop with the same number of orders each day. The last two years have --orders orders, and the
whole history is --times times as long. It publishes the last two years and measures some hourly runs. Then it publishes
the whole history and measures hourly runs again. It needs a running stack that has never published.
"""

import statistics
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import psycopg2

from bench.meter import ENGINE_SERVICES, Cost, median, record, show_costs
from bench.ranges import SHOP_DAYS
from bench.runs import measure_hours, measure_run, prepare_empty, runs_option, whole_history, window
from medallion.engines.iceberg import iterate_tables, load_lake, summary_number
from medallion.engines.postgres import transaction
from medallion.names import Group, group_of
from medallion.store.migrations import upgrade_store
from medallion.store.pipeline import set_first_watermark
from stack.demo import shop
from stack.environment import public_environment
from stack.pipeline import on_trino, show
from stack.settings import Settings

SPREAD = Path(__file__).with_name("spread.sql")


def seconds_by_layer(settings: Settings, runs: int) -> dict[str, float]:
    """Return the median seconds of each layer in the last runs, from the start of its first task to the last end."""
    _, rows = on_trino(
        settings,
        "select run_id, task_id, to_unixtime(min(start_time)), to_unixtime(max(end_time))"
        " from postgres_gold.audit.data_pipeline_runs where status <> 'skipped' and run_id in"
        f" (select run_id from postgres_gold.audit.publications order by batch desc limit {runs})"
        " group by run_id, task_id",
    )
    tasks: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for run, task, start, end in rows:
        tasks.setdefault(group_of(task), {}).setdefault(run, []).append((start, end))
    return {
        layer: statistics.median(
            max(end for _, end in times) - min(start for start, _ in times) for times in tasks[layer].values()
        )
        for layer in Group
        if layer in tasks
    }


def written_since(moment: datetime) -> float:
    """Return the megabytes of files that were added to the lake's tables since a time."""
    return sum(
        summary_number(snapshot, "added-files-size") / 1e6
        for _, table in iterate_tables(load_lake())
        for snapshot in table.snapshots()
        if snapshot.timestamp_ms / 1000 >= moment.timestamp()
    )


def measure(settings: Settings, runs: int) -> tuple[list[Cost], dict[str, float]]:
    """Measure hourly runs; return their costs, and their median figures by name."""
    began = datetime.now(UTC)
    costs = measure_hours(settings, runs)
    seconds, cpu = median(costs)
    return costs, {
        **{f"{layer}, seconds": value for layer, value in seconds_by_layer(settings, runs).items()},
        "hour, seconds": seconds,
        "hour, CPU seconds": cpu,
        **{
            f"{name}, MB read": statistics.median(cost.read[name] for cost in costs)
            for name in ENGINE_SERVICES
        },
        "MB read": statistics.median(sum(cost.read.values()) for cost in costs),
        "MB written": written_since(began) / runs,
    }


def show_ratios(names: Iterable[str], short: Mapping[str, float], long: Mapping[str, float]) -> None:
    """Print the figures of the short and the long history with their ratios."""
    show(
        "Medians over the shorter and the longer history",
        ["", *names, "ratio"],
        [
            (name, f"{short[name]:.1f}", f"{long[name]:.1f}", f"{long[name] / (short[name] or 1):.2f}")
            for name in short
            if name in long
        ],
    )


@click.command()
@click.option("--orders", default=500_000, show_default=True, help="Orders of the short history (two years).")
@click.option("--times", default=10, show_default=True, help="How many times as long the long history is.")
@runs_option
def flat(orders: int, times: int, runs: int) -> None:
    """Compare hourly runs over a short and over a long history with the same number of orders a day."""
    settings = prepare_empty()
    shop(
        settings, "generate", "--orders", str(orders * times), "--days", str(SHOP_DAYS * times), "--steady", "--replace"
    )  # fmt: skip
    with closing(psycopg2.connect(public_environment(settings)["SOURCE_URL"])) as source, source:
        source.cursor().execute(SPREAD.read_text())
    now = datetime.now(UTC)
    start = now - timedelta(days=SHOP_DAYS)
    upgrade_store()
    with transaction() as cursor:
        set_first_watermark(cursor, start, start)  # otherwise a scheduled run would publish the whole history
    measure_run(settings, window(start, now))
    short_costs, short = measure(settings, runs)
    measure_run(settings, whole_history())
    long_costs, long = measure(settings, runs)
    show_costs("short history", short_costs)
    show_costs("long history", long_costs)
    show_ratios((f"{orders:,} orders", f"{orders * times:,} orders"), short, long)
    for name in ("MB written", "MB read", "hour, CPU seconds", "hour, seconds"):
        goal = "at most 1.05 times" if name == "MB written" else "at most 1.2 times"
        what = "flat" if name == "hour, seconds" else f"flat, {name}"
        record(
            what, long[name] / short[name], "times", goal, {"short": short_costs, "long": long_costs}, orders
        )
