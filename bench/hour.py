"""The cost of an hourly run over the published history: after a burst, and without a change."""

import click

from bench.meter import measure, report
from stack import supervisor
from stack.demo import shop
from stack.errors import StackError
from stack.pipeline import publication, trigger
from stack.settings import Settings

runs_option = click.option(
    "--runs", default=3, show_default=True, help="Runs to measure; the result is their median."
)


def prepare() -> Settings:
    """Return the settings of a stack that can be measured. Raises StackError if nothing was published yet."""
    settings = Settings()
    if not publication(settings):
        raise StackError("The stack has published nothing yet: make run")
    supervisor.stop("shop", settings)  # it would trade between two runs
    trigger(settings, {})
    return settings


@click.command()
@runs_option
def hour(runs: int) -> None:
    """Run the pipeline after a burst of some hundred changes, from its trigger to the publication."""
    settings = prepare()
    costs = []
    for _ in range(runs):
        shop(settings, "live")
        costs.append(measure(settings, lambda: trigger(settings, {})))
    report("hour", costs, "at most 45 s over 100,000 orders")


@click.command()
@runs_option
def quiet(runs: int) -> None:
    """Run the pipeline without a change at the source."""
    settings = prepare()
    # Rows of the last run lie within the lookback of the next one.
    costs = [measure(settings, lambda: trigger(settings, {})) for _ in range(runs)]
    report("quiet", costs, "at most 10 s")
