"""Draw results in bench/results.jsonl: the tasks of an hourly run, and the cost of a run by size of the history."""

import json
from collections import defaultdict
from itertools import accumulate
from math import log10
from pathlib import Path
from typing import Any

import click
from jinja2 import Environment, FileSystemLoader, select_autoescape

from bench.meter import RESULTS
from stack.errors import StackError
from stack.settings import ROOT

IMAGES = ROOT / "docs" / "images"
COLOURS = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#999999", "#bb5500", "#000000"]
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=select_autoescape(["svg.jinja"])
)


def read_results(name: str) -> list[dict[str, Any]]:
    """Return the results of a benchmark, oldest first. Raises StackError if there is none."""
    lines = map(json.loads, RESULTS.read_text().splitlines() if RESULTS.exists() else [])
    if results := [line for line in lines if line["name"] == name]:
        return results
    raise StackError(f"There is no result to draw yet: make bench NAME={name}")


def draw(name: str, **values: Any) -> None:
    """Write a picture from its template."""
    (IMAGES / f"{name}.svg").write_text(TEMPLATES.get_template(f"{name}.svg.jinja").render(values))
    print(f"docs/images/{name}.svg")


def segments(values: dict[str, float]) -> list[tuple[str, float, float]]:
    """Return (name, start, length) of segments of a bar, one after another. Each value is the length of its segment."""
    starts = accumulate(values.values(), initial=0.0)
    return [(name, start, value) for (name, value), start in zip(values.items(), starts, strict=False)]


def costs_by_orders(results: list[dict[str, Any]], what: str) -> list[tuple[float, float]]:
    """Return (orders, CPU seconds), both as logarithms, of the newest result for each number of orders.

    `what`: the measured action, `hour` or `full refresh`.
    """
    newest = {result["orders"]: result["costs"][what] for result in results if what in result["costs"]}
    return [
        (log10(orders), log10(sum(sum(cost["cpu"].values()) for cost in costs) / len(costs)))
        for orders, costs in sorted(newest.items())
    ]


@click.command()
def plot() -> None:
    """Draw docs/images/hour.svg from the last result of `hour`, and cost_by_history.svg from all results of `peer`."""
    hour = read_results("hour")[-1]
    cost = min(hour["costs"]["hour"], key=lambda run: abs(run["seconds"] - hour["value"]))
    tasks = sorted(cost["tasks"], key=lambda task: (task[1], task[2]))
    groups = list(dict.fromkeys(name.partition(".")[0] for name, _, _ in tasks))
    draw(
        "hour",
        hour=hour,
        tasks=tasks,
        end=max(end for _, _, end in tasks),
        colours=defaultdict(lambda: COLOURS[-1], zip(groups, COLOURS, strict=False)),
        cpu=segments({name: used for name, used in cost["cpu"].items() if used >= 0.1}),
        total=sum(cost["cpu"].values()),
        palette=COLOURS,
    )
    peer = read_results("peer")
    ways = {what: costs_by_orders(peer, what) for what in ("hour", "full refresh")}
    draw("cost_by_history", ways=ways, palette=COLOURS)
