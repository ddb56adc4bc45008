"""Run a benchmark, or list them. Results are appended to bench/results.jsonl."""

import sys

import click

from bench import flat, fresh, history, hour, imports, peer, plot, publish, ranges, small_commits, tax
from stack.errors import StackError


@click.group(help=__doc__)
def measures() -> None:
    """Group the benchmarks as commands."""


for command in (
    hour.hour,
    flat.flat,
    hour.quiet,
    tax.tax,
    ranges.ranges,
    history.history,
    peer.peer,
    imports.import_dags,
    publish.publish,
    fresh.first,
    fresh.ci,
    small_commits.main,
    plot.plot,
):
    measures.add_command(command)

if __name__ == "__main__":
    try:
        measures()
    except StackError as error:
        sys.exit(str(error))
