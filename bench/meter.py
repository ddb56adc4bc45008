"""Measure the cost of an action: its seconds, the CPU seconds of each service, and the bytes that the engines read."""

import json
import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from stack import supervisor
from stack.pipeline import show
from stack.settings import Settings

RESULTS = Path(__file__).with_name("results.jsonl")
ENGINE_SERVICES = ("trino", "thrift")


@dataclass(frozen=True)
class Cost:
    """The cost of an action.

    seconds: its duration. cpu: CPU seconds by service. read: megabytes read, by engine. load: the machine's load
    average before it. tasks: if it is a run, its tasks, with start and end in seconds after the run's start.
    """

    seconds: float
    cpu: dict[str, float]
    read: dict[str, float]
    load: float
    tasks: list[tuple[str, float, float]] = field(default_factory=list)

    @property
    def cpu_seconds(self) -> float:
        """The sum of the CPU seconds of all services."""
        return sum(self.cpu.values())


def services(settings: Settings) -> dict[str, Any]:
    """Return the main process of each running service."""
    pids = {name: supervisor.info(name, settings)["pid"] for name in supervisor.SERVICES}
    return {name: psutil.Process(pid) for name, pid in pids.items() if pid}


def cpu_seconds(process: Any) -> float:
    """Return the CPU seconds that a process and its descendants have used, including descendants that have ended."""
    used = 0.0
    for member in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            used += sum(member.cpu_times()[:4])
    return used


def read_cpu(settings: Settings) -> dict[str, float]:
    """Return the CPU seconds of each running service, and as `commands` those of this process's ended children."""
    commands = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {name: cpu_seconds(process) for name, process in services(settings).items()} | {
        "commands": commands.ru_utime + commands.ru_stime
    }


def read_io(settings: Settings) -> dict[str, float]:
    """Return the megabytes that each engine's process has read from files, also cached ones, and from connections."""
    running = services(settings)
    return {name: running[name].io_counters().read_chars / 1e6 for name in ENGINE_SERVICES if name in running}


def difference(after: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    """Return `after` minus `before` for each name. A name that is missing in `before` counts as 0."""
    return {name: value - before.get(name, 0) for name, value in after.items()}


def measure(settings: Settings, action: Callable[[], object]) -> Cost:
    """Do `action` on the running stack and return its cost."""
    cpu, io, load, start = read_cpu(settings), read_io(settings), os.getloadavg()[0], time.monotonic()
    action()
    seconds = time.monotonic() - start
    return Cost(seconds, difference(read_cpu(settings), cpu), difference(read_io(settings), io), load)


def median(costs: Sequence[Cost]) -> tuple[float, float]:
    """Return the median seconds and the median CPU seconds."""
    return (
        statistics.median(cost.seconds for cost in costs),
        statistics.median(cost.cpu_seconds for cost in costs),
    )


def show_costs(title: str, costs: Sequence[Cost]) -> None:
    """Print costs as a table, a row for each."""
    names = list(costs[0].cpu)
    show(
        f"{title}: seconds, CPU seconds by service, megabytes read by engine",
        ["seconds", "CPU", *names, *(f"{name} read" for name in costs[0].read), "load before"],
        [
            tuple(
                f"{value:.1f}"
                for value in (
                    cost.seconds,
                    cost.cpu_seconds,
                    *cost.cpu.values(),
                    *cost.read.values(),
                    cost.load,
                )
            )
            for cost in costs
        ],
    )


def report(name: str, costs: Sequence[Cost], goal: str, orders: int | None = None) -> None:
    """Print costs as a table, then record the median of their seconds.

    `goal`: the value that is wanted, in words. `orders`: the number of orders at the source.
    """
    show_costs(name, costs)
    record(name, median(costs)[0], "s", goal, {name: costs}, orders)


def record(
    name: str,
    value: float,
    unit: str,
    goal: str,
    costs: Mapping[str, Sequence[Cost]] | None = None,
    orders: int | None = None,
) -> None:
    """Append a result to bench/results.jsonl, and print it as one line.

    `costs`: action -> the costs from which `value` is computed.
    """
    line = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "name": name,
        "value": round(value, 2),
        "unit": unit,
        "goal": goal,
        "orders": orders,
        "load": os.getloadavg()[0],
        "costs": {what: [asdict(cost) for cost in runs] for what, runs in (costs or {}).items()},
    }
    with RESULTS.open("a") as results:
        results.write(json.dumps(line) + "\n")
    cpu = f", {median(costs[name])[1]:.1f} CPU s" if costs and name in costs else ""
    over = f" over {orders:,} orders" if orders else ""
    print(f"{name}: {value:.2f} {unit}{cpu}{over} (goal {goal})")
