"""Measure a run after a burst of changes, over a short and a longer history: seconds of each layer, and their ratio.

    make bench NAME='history --orders 25000 --times 4'

Fills an empty shop, publishes its history, and runs the pipeline after each of several bursts of changes of one size.
Then it does the same with --times as many orders in the lake. The seconds of a layer run from the start of its first
task to the end of its last one, as `audit.data_pipeline_runs` has them; the table shows medians over the runs. Needs a
running stack that has never published, with SHOP=off.
"""

import statistics

import click

from medallion.names import Group
from stack.demo import shop
from stack.errors import StackError
from stack.pipeline import on_trino, publication, show, trigger
from stack.settings import Settings

RUNS = 3
# Generated rows are older than the watermark, so that only a run over this window takes them.
WHOLE_HISTORY = {"window_start": "2000-01-01", "window_end": "2100-01-01"}


def measure(settings: Settings) -> dict[str, float]:
    """Run the pipeline after each of several bursts; return the median seconds per layer and, as `run`, of all."""
    for _ in range(RUNS):
        shop(settings, "live")
        trigger(settings, {})
    _, rows = on_trino(
        settings,
        "select coalesce(layer, 'run'), to_unixtime(max(end_time)) - to_unixtime(min(start_time)) from ("
        " select run_id, split_part(task_id, '.', 1) as layer, start_time, end_time"
        " from postgres_gold.audit.data_pipeline_runs where status <> 'skipped' and run_id in"
        f" (select run_id from postgres_gold.audit.publications order by batch desc limit {RUNS}))"
        " group by grouping sets ((run_id, layer), (run_id))",
    )
    return {
        layer: statistics.median(seconds for name, seconds in rows if name == layer)
        for layer in (*Group, "run")
    }


@click.command("history")
@click.option("--orders", default=25_000, show_default=True, help="Orders of the short history.")
@click.option("--times", default=4, show_default=True, help="How many times as long the other history is.")
def main(orders: int, times: int) -> None:
    """Run the pipeline over a short and over a longer history, layer by layer."""
    settings = Settings()
    if publication(settings):
        raise StackError("This stack has published already. Measure on an empty one.")

    results = []
    for seed, added in (1, orders), (2, orders * (times - 1)):
        # --replace empties the shop. The first orders stay in the lake, because no window sees a delete.
        shop(settings, "generate", "--orders", str(added), "--seed", str(seed), "--replace")
        trigger(settings, WHOLE_HISTORY)
        results.append(measure(settings))
    short, long = results
    show(
        f"Median seconds of {RUNS} runs after a burst each",
        ["layer", f"{orders:,} orders", f"{orders * times:,} orders", "ratio"],
        [
            (layer, f"{short[layer]:.1f}", f"{long[layer]:.1f}", f"{long[layer] / short[layer]:.2f}")
            for layer in short
        ],
    )
