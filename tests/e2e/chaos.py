"""Kill each component in each layer of a run. The run must retry its tasks, finish, and publish the right gold.

`make chaos` starts a stack of its own, kills 48 times during 8 runs, and prints a table with a row for each kill. It
logs to .stack/test/log/chaos.log.
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
from typing import Any, NamedTuple

import psutil
import psycopg2
from tenacity import RetryError, retry, retry_if_exception_type, stop_after_delay, wait_fixed

from medallion.names import HOURLY_DAG
from stack import supervisor
from stack.airflow_api import AirflowApi
from stack.credentials import credentials
from stack.errors import StackError
from stack.pipeline import show
from support.waiting import wait_until

from .conftest import Stack, fill_shop, start_stack

log = logging.getLogger("chaos")

LAYERS = ("bronze", "silver_staging", "silver_marts", "gold", "stage", "publish")
# Component -> a part of the command line of its processes.
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
# The supervisor does not start these processes itself: a launcher, the scheduler or a task starts them.
NOT_SUPERVISED = ("trino", "spark driver", "task")
DONE = ("success", "skipped")
POLL_SECONDS = 0.1
RUN_SECONDS = 1800


class StuckError(Exception):
    """A run cannot go on; the message names the tasks that failed."""


class TaskInstance(NamedTuple):
    """A task instance in Airflow's database."""

    task: str
    state: str
    id: str
    attempt: int


@dataclass
class Kill:
    """A kill of a component while a layer runs, and its outcome.

    task: the task that was running. processes: number of killed processes; 0 if the component did not run.
    killed_at: time of the kill, by the monotonic clock. attempts: the largest number of attempts of a task of the
    layer. seconds: time from the kill until the layer was done.
    """

    component: str
    layer: str
    task: str = ""
    processes: int = 0
    killed_at: float = 0.0
    attempts: int = 0
    seconds: float = 0.0


@dataclass
class Run:
    """A run with its kills.

    differences: gold table -> its differences from the source. leftovers: statements and drivers that the run left
    on the engines.
    """

    kills: list[Kill]
    run_id: str = ""
    state: str = ""
    differences: dict[str, str] = field(default_factory=dict)
    leftovers: list[str] = field(default_factory=list)

    @property
    def has_recovered(self) -> bool:
        """Return whether the run succeeded, published the right gold and left nothing running on the engines."""
        return self.state == "success" and not self.differences and not self.leftovers


def find_processes(stack: Stack, component: str, task_instance: str) -> list[psutil.Process]:
    """Return the processes of a component that a kill must end; an empty list if the component is not running."""
    pattern = COMPONENTS[component].format(task_instance=task_instance)
    processes = []
    for process in supervisor.stack_processes(stack.settings):
        with suppress(psutil.Error):
            # If supervisord starts the component, kill only the process that it started. The children of this process
            # must cope with the loss.
            if pattern in " ".join(process.cmdline()) and (
                component in NOT_SUPERVISED or "supervisord" in " ".join(process.parent().cmdline())
            ):
                processes.append(process)
    return processes


@retry(
    retry=retry_if_exception_type(psycopg2.OperationalError),
    stop=stop_after_delay(RUN_SECONDS),
    wait=wait_fixed(POLL_SECONDS),
    reraise=True,
)
def read_task_instances(stack: Stack, run_id: str) -> list[TaskInstance]:
    """Return the task instances of a run; wait while Airflow's database is down."""
    password = credentials(stack.settings.home / "secrets.env")["AIRFLOW_DB_PASSWORD"]
    with psycopg2.connect(
        host="127.0.0.1", port=stack.settings.postgres_port, user="airflow", password=password
    ) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "select task_id, coalesce(state, ''), id::text, try_number from task_instance where run_id = %s",
            (run_id,),
        )
        return [TaskInstance(*row) for row in cursor.fetchall()]


def select_layer(instances: Sequence[TaskInstance], layer: str) -> list[TaskInstance]:
    """Return the task instances of a layer."""
    return [instance for instance in instances if instance.task.partition(".")[0] == layer]


def is_done(instances: Sequence[TaskInstance]) -> bool:
    """Return whether there are task instances, and all of them succeeded or were skipped."""
    return bool(instances) and all(instance.state in DONE for instance in instances)


def wait_for(stack: Stack, run: Run, check: Callable[[list[TaskInstance]], Any]) -> Any:
    """Pass the run's task instances to `check` until its result is true, and return that result.

    Raises StuckError if a task failed, and tenacity.RetryError after half an hour.
    """

    def poll() -> Any:
        instances = read_task_instances(stack, run.run_id)
        if result := check(instances):
            return result
        failed = [instance.task for instance in instances if instance.state in ("failed", "upstream_failed")]
        if failed:
            raise StuckError(f"{', '.join(failed)} failed")
        return None

    return wait_until(poll, RUN_SECONDS, POLL_SECONDS)


def strike(stack: Stack, run: Run, kill: Kill) -> None:
    """Wait until the component runs during the kill's layer, and kill it."""

    def find_victims(instances: list[TaskInstance]) -> tuple[str, list[psutil.Process]] | None:
        layer = select_layer(instances, kill.layer)
        for instance in layer:
            if instance.state == "running" and (
                processes := find_processes(stack, kill.component, instance.id)
            ):
                return instance.task, processes
        # If the layer is done, the component did not run in it.
        return ("", []) if is_done(layer) else None

    kill.task, victims = wait_for(stack, run, find_victims)
    for process in victims:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    kill.processes, kill.killed_at = len(victims), time.monotonic()
    log.info(
        "%s: killed %s (%d) while %s ran", run.run_id, kill.component, kill.processes, kill.task or "nothing"
    )


def await_recovery(stack: Stack, run: Run, kills: Sequence[Kill]) -> None:
    """Wait until the layer of the kills is done, and record how long that took. All `kills` have the same layer."""
    layer = kills[0].layer

    def select_done(instances: list[TaskInstance]) -> list[TaskInstance]:
        selected = select_layer(instances, layer)
        return selected if is_done(selected) else []

    attempts = max(instance.attempt for instance in wait_for(stack, run, select_done))
    for kill in kills:
        kill.attempts, kill.seconds = attempts, time.monotonic() - kill.killed_at
        log.info("%s: %s done after %.1f s, %d attempts", run.run_id, layer, kill.seconds, attempts)


def run_with_kills(stack: Stack, kills: Sequence[Kill]) -> Run:
    """Change the shop, trigger a run, kill components meanwhile, and compare the published gold with the source."""
    run = Run(list(kills))
    stack.run_sample("live")
    with AirflowApi(stack.settings) as airflow:
        airflow.unpause(HOURLY_DAG)
        run.run_id = airflow.trigger(HOURLY_DAG, {})
    try:
        for _, group in itertools.groupby(run.kills, lambda kill: kill.layer):
            kills_of_layer = list(group)
            for kill in kills_of_layer:
                strike(stack, run, kill)
            await_recovery(stack, run, kills_of_layer)
        wait_for(
            stack,
            run,
            lambda instances: any(
                instance.task == "end" and instance.state == "success" for instance in instances
            ),
        )
        run.state = await_end(stack, run.run_id)
    except (StuckError, RetryError) as error:
        log.error("%s does not go on: %s", run.run_id, error)
        run.state = str(error)
        return run
    stack.run("up")  # the component that was killed last may still be starting
    run.differences = stack.find_differences()
    for table, difference in run.differences.items():
        log.error("%s: gold.%s differs: %s", run.run_id, table, difference)
    run.leftovers = [
        statement
        for (statement,) in stack.query_trino(
            "select query from system.runtime.queries where state not in ('FINISHED', 'FAILED')"
            " and query like '/* medallion medallion_%'"
        )
    ] + [" ".join(process.cmdline()) for process in find_processes(stack, "spark driver", "")]
    for leftover in run.leftovers:
        log.error("%s: left: %s", run.run_id, leftover)
    return run


def await_end(stack: Stack, run_id: str) -> str:
    """Wait until a run and all others of its DAG have ended, and return the run's state.

    The api-server may still be starting after a kill. Raises tenacity.RetryError after half an hour.
    """

    def read_state() -> str:
        with suppress(StackError), AirflowApi(stack.settings) as airflow:
            state = str(airflow.call("GET", f"/api/v2/dags/{HOURLY_DAG}/dagRuns/{run_id}")["state"])
            if state in ("success", "failed") and not airflow.active(HOURLY_DAG):
                return state
        return ""

    return wait_until(read_state, RUN_SECONDS)


def plan_kills() -> Iterator[list[Kill]]:
    """Yield the kills of eight runs. Together the runs kill each component once in each layer."""
    for shift in range(len(COMPONENTS)):
        yield [
            Kill(list(COMPONENTS)[(shift + position) % len(COMPONENTS)], layer)
            for position, layer in enumerate(LAYERS)
        ]


def show_kills(runs: Sequence[Run]) -> None:
    """Print a table with a row for each kill."""
    rows = [
        (
            kill.component,
            kill.layer,
            kill.task or "(component does not run)",
            kill.attempts,
            f"{kill.seconds:.1f}",
            "yes"
            if run.has_recovered
            else f"NO: {run.state}, {len(run.differences)} differ, {len(run.leftovers)} left",
        )
        for run in runs
        for kill in run.kills
    ]
    columns = ["component", "layer", "killed during", "attempts", "seconds to recover", "gold equal"]
    show("Kills", columns, rows)


def main() -> int:
    """Do the runs with kills, then rebuild silver and gold.

    Returns 0 if every kill ended a process, every run recovered, and the rebuilt gold equals the published one.
    """
    parser = argparse.ArgumentParser(description="Kill each component in each layer of a run.")
    parser.add_argument("--first", type=int, default=0, help="how many of the eight runs to leave out")
    parser.add_argument("--runs", type=int, default=len(COMPONENTS), help="how many runs, of six kills each")
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    runs = []
    with start_stack(quiet=True) as stack:
        logging.basicConfig(
            filename=stack.settings.home / "log" / "chaos.log",
            level=logging.INFO,
            format="%(asctime)s %(levelname)s %(message)s",
            force=True,  # replace the logging to stderr that an imported module has set up
        )
        logging.getLogger("httpx").setLevel(
            logging.WARNING
        )  # at lower levels httpx logs each request to Airflow
        fill_shop(stack)
        stack.run("run")
        for kills in itertools.islice(plan_kills(), options.first, options.first + options.runs):
            runs.append(run_with_kills(stack, kills))
        before = stack.read_published()
        stack.run("trigger", "--rebuild", "silver")
        rebuilt = stack.read_published()
    show_kills(runs)
    print("gold equals the rebuild from bronze" if rebuilt == before else "GOLD DIFFERS FROM THE REBUILD")
    # A Spark driver runs only in silver staging. Every other component must have been killed in each layer.
    missed = [
        kill for run in runs for kill in run.kills if not kill.processes and kill.component != "spark driver"
    ]
    return 0 if all(run.has_recovered for run in runs) and rebuilt == before and not missed else 1


if __name__ == "__main__":
    sys.exit(main())
