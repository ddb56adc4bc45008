"""The cost of a run: seconds, and CPU seconds of each service with all processes that it starts."""

import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from stack import supervisor
from stack.pipeline import show
from stack.settings import Settings

RESULTS = Path(__file__).with_name("results.jsonl")


@dataclass(frozen=True)
class Cost:
    """Wall seconds, CPU seconds by service, and the machine's load in the minute before, other programs included."""

    seconds: float
    cpu: dict[str, float]
    load: float

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of all services."""
        return sum(self.cpu.values())


def read_cpu(settings: Settings) -> dict[str, float]:
    """Return the CPU seconds that each running service has used, with its children, also those that have ended."""
    used = {}
    for name in supervisor.SERVICES:
        if pid := supervisor.info(name, settings)["pid"]:
            process = psutil.Process(pid)
            used[name] = sum(
                sum(each.cpu_times()[:4]) for each in [process, *process.children(recursive=True)]
            )
    return used


def measure(settings: Settings, action: Callable[[], None]) -> Cost:
    """Do `action` on the running stack and return its cost."""
    before, load, start = read_cpu(settings), os.getloadavg()[0], time.monotonic()
    action()
    seconds, after = time.monotonic() - start, read_cpu(settings)
    return Cost(seconds, {name: after[name] - before.get(name, 0) for name in after}, load)


def report(name: str, costs: Sequence[Cost], goal: str) -> None:
    """Show costs as a table, record them, and print the median of their seconds as the last line.

    `goal`: what the measure should be, in words.
    """
    services = list(costs[0].cpu)
    show(
        f"{name}: seconds, and CPU seconds by service",
        ["seconds", "CPU", *services, "load before"],
        [
            tuple(
                f"{value:.1f}"
                for value in (
                    cost.seconds,
                    cost.cpu_seconds,
                    *(cost.cpu[each] for each in services),
                    cost.load,
                )
            )
            for cost in costs
        ],
    )
    seconds = statistics.median(cost.seconds for cost in costs)
    record(name, seconds, "s", goal, costs)


def record(name: str, value: float, unit: str, goal: str, costs: Sequence[Cost] = ()) -> None:
    """Append a result to bench/results.jsonl and print it as one line."""
    line = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "name": name,
        "value": round(value, 2),
        "unit": unit,
        "goal": goal,
        "load": os.getloadavg()[0],
        "costs": [asdict(cost) for cost in costs],
    }
    with RESULTS.open("a") as results:
        results.write(json.dumps(line) + "\n")
    print(f"{name}: {value:.1f} {unit} (goal {goal})")
