"""Measure `make run` in a fresh clone with filled caches, and `make test` in one with empty caches."""

import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import psutil

from bench.meter import record
from stack.errors import StackError
from stack.settings import ROOT, Settings

# A step in the table of times that `make run` prints. `make run` creates the Python environment before this step.
SET_UP = "Set up and start"


def user_environment() -> dict[str, str]:
    """Return the user's environment: that of the calling process, without the variables of make and of the stack."""
    return {
        name: value
        for name, value in psutil.Process(os.getppid()).environ().items()
        if name == "STACK_CACHE" or not name.startswith(("MAKE", "STACK_"))
    }


@contextmanager
def fresh_clone() -> Iterator[Path]:
    """Yield the folder of a clone of the last commit; at the end stop its stack and remove it."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "clone")
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        try:
            yield clone
        finally:
            subprocess.run(["make", "down"], cwd=clone, env=user_environment(), check=False)


def free_ports() -> dict[str, str]:
    """Return the stack's variables for its ports, each with a free port."""
    with ExitStack() as stack:
        sockets = {name: stack.enter_context(socket.socket()) for name in Settings().ports}
        for listener in sockets.values():
            listener.bind(("127.0.0.1", 0))
        return {f"STACK_{name.upper()}": str(listener.getsockname()[1]) for name, listener in sockets.items()}


def make(clone: Path, variables: Mapping[str, str], *arguments: str) -> tuple[float, str]:
    """Run make in a clone; return its seconds and its output, which is also printed. Raises StackError if it fails."""
    start, lines = time.monotonic(), []
    with subprocess.Popen(
        ["make", *arguments],
        cwd=clone, env={**user_environment(), **variables}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        raise StackError(f"make {' '.join(arguments)} failed.")
    return time.monotonic() - start, "".join(lines)


def read_times(output: str) -> dict[str, float]:
    """Return the seconds of each step, read from the table of times that `make run` prints."""
    table = re.split(r"^ *Times *$", output, flags=re.MULTILINE)[-1]
    return {
        step: float(seconds)
        for step, seconds in re.findall(r"^[│|] (.+?) +[│|] (\d+) +[│|]$", table, re.MULTILINE)
    }


@click.command()
@click.option("--orders", default=50_000, show_default=True, help="Orders of the shop.")
def first(orders: int) -> None:
    """Measure `make run` in a fresh clone with filled caches. Other stacks should be down."""
    with fresh_clone() as clone:
        seconds, output = make(clone, free_ports(), "run", f"ORDERS={orders}", "SHOP=off")
    times = read_times(output)
    if SET_UP not in times:
        raise StackError("The output of make run has no table of times.")
    set_up = seconds - sum(duration for step, duration in times.items() if step != SET_UP)
    record("first, set-up and start", set_up, "s", "at most 45 s")
    record("first", seconds, "s", "at most 240 s for 50,000 orders")


@click.command()
def ci() -> None:
    """Measure `make test` in a fresh clone with empty caches. Other stacks should be down."""
    with fresh_clone() as clone:
        caches = {
            name: str(clone.parent / "cache" / name)
            for name in ("XDG_CACHE_HOME", "PIP_CACHE_DIR", "UV_CACHE_DIR", "STACK_CACHE")
        }
        seconds, _ = make(clone, caches, "test")
    record("ci", seconds / 60, "min", "at most 30 min")
