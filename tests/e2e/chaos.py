"""kill -9 of each component at each moment of a run, which must finish by its retries and publish the right gold.

make chaos        48 kills over 8 runs, on a stack of its own; prints one table, and logs to .stack/test/log/chaos.log
"""

import argparse
import itertools
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import psutil
import psycopg2
from tenacity import RetryError, retry, retry_if_exception_type, stop_after_delay, wait_fixed

from stack import supervisor
from stack.airflow_api import AirflowApi
from stack.credentials import credentials
from stack.errors import StackError
from stack.pipeline import DAG, show
from support.waiting import wait_until

from .conftest import Stack, filled, own_stack

log = logging.getLogger("chaos")

MOMENTS = ("bronze", "silver_staging", "silver_marts", "gold", "stage", "publish")
# What is in the command line of each.
COMPONENTS = {
    "trino": "io.trino.server.TrinoServer",
    "spark driver": "build_entities.py --run",
    "thrift": "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2",
    "postgres": "/postgres -D",
    "scheduler": "/airflow scheduler",
    "task": "airflow worker -- {task_instance}",
    "dag-processor": "/airflow dag-processor",
    "api-server": "airflow api_server",
}
STARTED_BY_OTHERS = ("trino", "spark driver", "task")
DONE = ("success", "skipped")
POLL_SECONDS = 0.1
RUN_SECONDS = 1800


class StuckError(Exception):
    """A run can't go on; the message says what failed."""


@dataclass
class Kill:
    """One kill, and what came of it."""

    component: str
    moment: str
    task: str = ""  # that was running
    killed: int = 0  # processes
    at: float = 0.0  # on the monotonic clock
    tries: int = 0  # the most that a task of the layer took
    seconds: float = 0.0  # from the kill until the layer was done


@dataclass
class Run:
    """A run with its kills. `equal`: its gold is what the source says."""

    kills: list[Kill]
    run_id: str = ""
    state: str = ""
    differences: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)  # statements and drivers that the run left on engines

    @property
    def equal(self) -> bool:
        """Whether it ended as if nothing had been killed."""
        return self.state == "success" and not self.differences and not self.left


def processes(stack: Stack, component: str, task_instance: str) -> list[psutil.Process]:
    """Return what is to be killed of a component; none where it does not run at that moment."""
    word = COMPONENTS[component].format(task_instance=task_instance)
    found = []
    for process in supervisor.stack_processes(stack.settings):
        with suppress(psutil.Error):
            words = process.cmdline()
            # Of a service its first process: what that started has to cope.
            if word in " ".join(words) and (
                component in STARTED_BY_OTHERS or "supervisord" in " ".join(process.parent().cmdline())
            ):
                found.append(process)
    return found


@retry(
    retry=retry_if_exception_type(psycopg2.OperationalError),
    stop=stop_after_delay(RUN_SECONDS),
    wait=wait_fixed(POLL_SECONDS),
    reraise=True,
)
def task_instances(stack: Stack, run_id: str) -> list[tuple[str, str, str, int]]:
    """Return (task id, state, id, try number) of a run, from Airflow's database, waiting where that is down."""
    password = credentials(stack.settings.home / "secrets.env")["AIRFLOW_DB_PASSWORD"]
    with psycopg2.connect(
        host="127.0.0.1", port=stack.settings.postgres_port, user="airflow", password=password
    ) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "select task_id, coalesce(state, ''), id::text, try_number from task_instance where run_id = %s",
            (run_id,),
        )
        return cursor.fetchall()


def of_layer(rows: Sequence[tuple[str, str, str, int]], layer: str) -> list[tuple[str, str, str, int]]:
    """Return the task instances of a layer."""
    return [row for row in rows if row[0].partition(".")[0] == layer]


def is_done(rows: Sequence[tuple[str, str, str, int]]) -> bool:
    """Whether the task instances, of a layer, are there and have all ended well."""
    return bool(rows) and all(state in DONE for _, state, *_ in rows)


def wait_for(stack: Stack, run: Run, seen: Callable[[list[tuple[str, str, str, int]]], Any]) -> Any:
    """Return what `seen` finds among the run's task instances, as soon as it is something.

    Raises StuckError where the run can't go on, tenacity.RetryError after half an hour.
    """

    def found() -> Any:
        rows = task_instances(stack, run.run_id)
        if result := seen(rows):
            return result
        if broken := [task for task, state, *_ in rows if state in ("failed", "upstream_failed")]:
            raise StuckError(f"{', '.join(broken)} failed")
        return None

    return wait_until(found, RUN_SECONDS, POLL_SECONDS)


def strike(stack: Stack, run: Run, kill: Kill) -> None:
    """Wait for the moment, and kill."""

    def victims(rows: list[tuple[str, str, str, int]]) -> Any:
        layer = of_layer(rows, kill.moment)
        for task, state, identity, _ in layer:
            if state == "running" and (found := processes(stack, kill.component, identity)):
                return task, found
        # It was not there while the layer ran.
        return ("", []) if is_done(layer) else None

    kill.task, found = wait_for(stack, run, victims)
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    kill.killed, kill.at = len(found), time.monotonic()
    log.info(
        "%s: killed %s (%d) while %s ran", run.run_id, kill.component, kill.killed, kill.task or "nothing"
    )


def recover(stack: Stack, run: Run, kills: Sequence[Kill]) -> None:
    """Wait until the layer is done in which all of `kills` were."""
    moment = kills[0].moment

    def done(rows: list[tuple[str, str, str, int]]) -> Any:
        layer = of_layer(rows, moment)
        return is_done(layer) and layer

    tries = max(tries for *_, tries in wait_for(stack, run, done))
    for kill in kills:
        kill.tries, kill.seconds = tries, time.monotonic() - kill.at
        log.info("%s: %s done after %.1f s, %d tries", run.run_id, moment, kill.seconds, tries)


def endure(stack: Stack, kills: Sequence[Kill]) -> Run:
    """Change the shop, make a run, kill as it goes, and hold what it published against the source."""
    run = Run(list(kills))
    stack.sample("live")
    with AirflowApi(stack.settings) as airflow:
        airflow.unpause(DAG)
        run.run_id = airflow.trigger(DAG, {})
    try:
        for _, group in itertools.groupby(run.kills, lambda kill: kill.moment):
            of_moment = list(group)
            for kill in of_moment:
                strike(stack, run, kill)
            recover(stack, run, of_moment)
        wait_for(
            stack, run, lambda rows: dict((task, state) for task, state, *_ in rows).get("end") == "success"
        )
        run.state = ended(stack, run.run_id)
    except (StuckError, RetryError) as error:
        log.error("%s does not go on: %s", run.run_id, error)
        run.state = str(error)
        return run
    stack.run("up")  # what was killed last may be starting yet
    run.differences = stack.differences()
    for table, difference in run.differences.items():
        log.error("%s: gold.%s differs: %s", run.run_id, table, difference)
    run.left = [
        query
        for (query,) in stack.lake(
            "select query from system.runtime.queries where state not in ('FINISHED', 'FAILED')"
            " and query like '/* medallion medallion_%'"
        )
    ] + [" ".join(process.cmdline()) for process in processes(stack, "spark driver", "")]
    for each in run.left:
        log.error("%s: left: %s", run.run_id, each)
    return run


def ended(stack: Stack, run_id: str) -> str:
    """Return how a run ended, waiting for it and all others, and for the api-server where that was killed.

    Raises tenacity.RetryError after half an hour.
    """

    def state() -> str:
        with suppress(StackError), AirflowApi(stack.settings) as airflow:
            found = str(airflow.call("GET", f"/api/v2/dags/{DAG}/dagRuns/{run_id}")["state"])
            if found in ("success", "failed") and not airflow.active(DAG):
                return found
        return ""

    return wait_until(state, RUN_SECONDS)


def all_kills() -> Iterator[list[Kill]]:
    """Return eight runs' kills: each component at each moment."""
    for shift in range(len(COMPONENTS)):
        yield [
            Kill(list(COMPONENTS)[(shift + position) % len(COMPONENTS)], moment)
            for position, moment in enumerate(MOMENTS)
        ]


def show_kills(runs: Sequence[Run]) -> None:
    """Print the table."""
    rows = [
        (
            kill.component,
            kill.moment,
            kill.task or "(does not run then)",
            kill.tries,
            f"{kill.seconds:.1f}",
            "yes" if run.equal else f"NO: {run.state}, {len(run.differences)} differ, {len(run.left)} left",
        )
        for run in runs
        for kill in run.kills
    ]
    columns = ["component", "moment", "killed while it ran", "tries", "seconds to recover", "gold equal"]
    show("Kills", columns, rows)


def main() -> int:
    """Make the runs; return 0 where every kill struck, and every run ended with the right gold."""
    parser = argparse.ArgumentParser(description="Kill each component at each moment of a run.")
    parser.add_argument("--first", type=int, default=0, help="how many of the eight runs to leave out")
    parser.add_argument("--runs", type=int, default=len(COMPONENTS), help="how many runs, of six kills each")
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    runs = []
    with own_stack(quiet=True) as stack:
        logging.basicConfig(
            filename=stack.settings.home / "log" / "chaos.log",
            level=logging.INFO,
            format="%(asctime)s %(levelname)s %(message)s",
            force=True,  # an import has chosen stderr
        )
        logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each question to Airflow
        filled(stack)
        stack.run("run")
        for kills in itertools.islice(all_kills(), options.first, options.first + options.runs):
            runs.append(endure(stack, kills))
        before = stack.published()
        stack.run("trigger", "--rebuild", "silver")
        rebuilt = stack.published()
    show_kills(runs)
    print("gold equals the rebuild from bronze" if rebuilt == before else "GOLD DIFFERS FROM THE REBUILD")
    # A Spark driver runs in one layer alone.
    missed = [
        kill for run in runs for kill in run.kills if not kill.killed and kill.component != "spark driver"
    ]
    return 0 if all(run.equal for run in runs) and rebuilt == before and not missed else 1


if __name__ == "__main__":
    sys.exit(main())
