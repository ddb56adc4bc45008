"""What an hour's changes cost over a short history and over a longer one: the seconds of each layer, and their ratio.

    python -m stack exec -- python bench/history.py --orders 25000 --times 4

Fills an empty shop, publishes it, then makes runs after bursts of one size; then the same with --times as many orders
in the lake. A layer takes from the start of its first task to the end of its last, by `audit.data_pipeline_runs`;
medians over the runs. Needs a stack that runs and has never published, with SHOP=off.
"""

import argparse
import statistics

from medallion.names import Group
from stack.demo import shop
from stack.errors import StackError
from stack.pipeline import on_trino, publication, show, trigger
from stack.settings import Settings

RUNS = 3
# As CSVs' rows, older than any watermark: a window has to ask for them.
ALL = {"window_start": "2000-01-01", "window_end": "2100-01-01"}


def measure(settings: Settings) -> dict[str, float]:
    """Return the median seconds of each layer, and of the `run` as a whole, over runs after a burst each."""
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


def main() -> None:
    """Parse the command line, do it, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--orders", type=int, default=25_000, help="of the short history (default: %(default)s)"
    )
    parser.add_argument("--times", type=int, default=4, help="how much longer the other is")
    options = parser.parse_args()
    settings = Settings()
    if publication(settings):
        raise StackError("This stack has published already: measure on an empty one.")

    measured = []
    for seed, orders in (1, options.orders), (2, options.orders * (options.times - 1)):
        # What a seed before made is gone from the shop, and stays in the lake: no run looks for it.
        shop(settings, "generate", "--orders", str(orders), "--seed", str(seed), "--replace")
        trigger(settings, ALL)
        measured.append(measure(settings))
    short, long = measured
    show(
        f"Median seconds of {RUNS} runs after a burst each",
        ["layer", f"{options.orders:,} orders", f"{options.orders * options.times:,} orders", "ratio"],
        [
            (layer, f"{short[layer]:.1f}", f"{long[layer]:.1f}", f"{long[layer] / short[layer]:.2f}")
            for layer in short
        ],
    )


if __name__ == "__main__":
    main()
