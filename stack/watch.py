"""The watch, an event listener of supervisord. It kills services that do not answer, and supervisord restarts them."""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

import psutil
from supervisor.childutils import listener

from stack import supervisor
from stack.health import FULL, NEEDS, find_problem
from stack.settings import Settings

# A service that misses this many checks in a row is killed. Supervisord asks for one check a minute.
LIMIT = 3


def find_problems(settings: Settings) -> dict[str, str]:
    """Return why each unhealthy service is unhealthy, by name.

    A service that has just been started is not checked, and neither is one that needs an unhealthy service.
    """
    problems: dict[str, str] = {}
    for name, needs in NEEDS.items():
        record = supervisor.info(name, settings)
        is_old = record["statename"] == "RUNNING" and time.time() - record["start"] > settings.start_timeout
        if not is_old or problems.keys() & needs:
            continue
        if problem := find_problem(name, settings, record["start"]):
            problems[name] = problem
    return problems


def kill_unhealthy(settings: Settings, misses: Mapping[str, int]) -> Counter[str]:
    """Check all services, and kill those that have missed LIMIT checks.

    `misses` and the result: the number of checks that each unhealthy service has missed so far.
    """
    problems = find_problems(settings)
    # A full server answers, so it is not frozen.
    counted = Counter(
        {name: misses.get(name, 0) + 1 for name, problem in problems.items() if problem != FULL}
    )
    for name, count in list(counted.items()):
        report(f"{name} has missed {count} of {LIMIT} checks: {problems[name]}")
        if count >= LIMIT:
            report(f"{name} is killed; the supervisor starts it again.")
            del counted[name]
            # The process id is 0 if the service has ended meanwhile.
            if pid := supervisor.info(name, settings)["pid"]:
                with suppress(psutil.NoSuchProcess):
                    process = psutil.Process(pid)
                    # No other signal ends a frozen process, and the children of a killed one may hold its port.
                    supervisor.end_processes([process, *process.children(recursive=True)], seconds=0)
    return counted


def report(line: str) -> None:
    """Write a line to the watch's log."""
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z {line}", file=sys.stderr, flush=True)


def watch(settings: Settings) -> None:
    """Check the services whenever supervisord asks, until the process is ended."""
    misses: Counter[str] = Counter()
    while True:
        listener.wait()
        misses = kill_unhealthy(settings, misses)
        listener.ok()
