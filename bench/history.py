"""Measure a first load: one run that publishes the whole history of the source."""

import click

from bench.meter import measure, record, show_costs
from bench.peer import full_refresh
from bench.runs import measure_run, prepare_empty, whole_history
from stack.demo import shop


@click.command()
@click.option("--orders", default=1_000_000, show_default=True, help="Orders of the history.")
def history(orders: int) -> None:
    """Publish a history of two years in one run, and compare it with building the same tables by one `dbt build`."""
    settings = prepare_empty()
    shop(settings, "generate", "--orders", str(orders), "--replace")
    load = measure_run(settings, whole_history())
    with full_refresh(settings) as build:
        bare = measure(settings, build)
    show_costs("first load", [load])
    show_costs("bare statements", [bare])
    print(f"{orders / load.seconds:,.0f} orders a second; bare statements {orders / bare.seconds:,.0f}.")
    record("history, rate", bare.seconds / load.seconds, "of the bare rate", "at least 0.5")
    record(
        "history",
        load.seconds,
        "s",
        "at most 720 s for a million orders",
        {"history": [load], "bare": [bare]},
    )
