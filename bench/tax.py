"""Measure the overhead of Airflow: the CPU seconds of tasks that build models, beyond those of a plain `dbt build`."""

import os
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import click
import psutil
from airflow.sdk import BaseHook

from bench.meter import ENGINE_SERVICES, cpu_seconds, difference, read_cpu, record, services
from bench.runs import INCREMENT, count_orders, measure_run, prepare
from medallion.names import BUILD_ENTITIES, ENGINES, HOURLY_DAG, Group, group_of, model_of
from medallion.project.declarations import declarations
from medallion.project.manifest import entities
from medallion.run.lease import release
from medallion.run.pending import tables_with_new_rows
from medallion.run.request import record_window
from medallion.run.state import RunState, claim_run
from medallion.run.window import RunKind
from medallion.settings import DBT_PROJECT, SPARK_CONNECTION, SPARK_JOBS
from medallion.tasks.hooks import RUN_VARIABLE
from stack.airflow_api import AirflowApi
from stack.demo import shop
from stack.errors import StackError
from stack.pipeline import publication, show
from stack.settings import Settings

POLL_SECONDS = 0.1


@contextmanager
def watch_tasks(settings: Settings) -> Iterator[dict[str, float]]:
    """Yield a dictionary that is updated meanwhile: id of a task instance -> CPU seconds of its processes.

    A task's process has this id at the end of its title.
    """
    scheduler = services(settings)["scheduler"]
    used: dict[str, float] = defaultdict(float)
    ended = Event()

    def watch() -> None:
        before: dict[int, float] = {}
        while not ended.wait(POLL_SECONDS):
            for worker in scheduler.children():
                with suppress(psutil.NoSuchProcess, IndexError):
                    task, now = worker.cmdline()[0].split()[-1], cpu_seconds(worker)
                    used[task] += now - before.get(worker.pid, now)
                    before[worker.pid] = now

    thread = Thread(target=watch)
    thread.start()
    try:
        yield used
    finally:
        ended.set()
        thread.join()


@contextmanager
def bare_run() -> Iterator[RunState]:
    """Yield the context of a run that holds the lease, but has no tasks in Airflow."""
    ti: Any = SimpleNamespace(
        dag_id="bench", run_id=f"bench__{datetime.now(UTC).isoformat()}", task=None, try_number=1
    )
    try:
        record_window(ti, RunKind.MANUAL, None, None)
        yield claim_run(ti)
    finally:
        release(ti)


def build_entities(run: RunState) -> None:
    """Submit the Spark job that builds silver staging, as its task does."""
    spark = BaseHook.get_connection(SPARK_CONNECTION)
    declared = declarations()
    entity_arguments = [
        argument
        for name in tables_with_new_rows(run, entities())
        for argument in ("--entity", declared[name].json())
    ]
    command: list[str | Path] = [
        SPARK_JOBS / "submit",
        "--master",
        f"{spark.host}:{spark.port}",
        "--name",
        "bench",
    ]
    command += [SPARK_JOBS / "build_entities.py", "--run", run.json(), *entity_arguments]
    if subprocess.run(command, check=False).returncode:
        raise StackError("The Spark job failed.")


def build_bare(models: dict[str, list[str]], run: RunState) -> tuple[float, float]:
    """Build and test models by one `dbt build` per group, in this process; return the seconds and dbt's CPU seconds.

    The project is parsed before, as for Airflow's tasks, and this is not measured. The seconds include the Spark job.
    """
    from dbt.cli.main import dbtRunner  # this import takes seconds, and most benchmarks do not need dbt

    seconds = cpu = 0.0
    os.environ[RUN_VARIABLE] = run.json()
    with tempfile.TemporaryDirectory() as folder:
        options = [
            "--project-dir",
            str(DBT_PROJECT),
            "--profiles-dir",
            str(DBT_PROJECT),
            "--log-path",
            folder,
        ]
        dbt = ["--no-version-check", "--quiet", "--no-write-json"]
        manifests: dict[str, Any] = {
            engine: dbtRunner()
            .invoke([*dbt, "parse", "--target", engine, "--target-path", f"{folder}/{engine}", *options])
            .result
            for engine in sorted(set(ENGINES.values()))
        }
        for group, names in models.items():
            engine, start = ENGINES[Group(group)], time.monotonic()
            if group == Group.SILVER_MARTS:
                build_entities(run)
            cpu_start = time.process_time()
            done = dbtRunner(manifest=manifests[engine]).invoke([
                *dbt, "build", "--select", *names, "--exclude-resource-type", "unit_test",
                "--target", engine, "--target-path", f"{folder}/{engine}", *options,
            ])  # fmt: skip
            if not done.success:
                raise StackError(f"The bare build of {group} failed: {done.exception or done.result}")
            seconds += time.monotonic() - start
            cpu += time.process_time() - cpu_start
    return seconds, cpu


@click.command()
def tax() -> None:
    """Compare the CPU seconds of Airflow's tasks with a `dbt build` of the same models without Airflow."""
    settings = prepare()
    shop(settings, *INCREMENT)
    with watch_tasks(settings) as used:
        cost = measure_run(settings)
    run = publication(settings)
    assert run  # noqa: S101, measure_run has checked that there is one
    with AirflowApi(settings) as airflow:
        tasks = [task for task in airflow.tasks(HOURLY_DAG, run[0]) if task["state"] == "success"]
    names = {task["task_id"]: used[task["id"]] for task in tasks}
    models = {group: sorted(model_of(name) for name in names if group_of(name) == group) for group in ENGINES}
    count = sum(map(len, models.values()))
    in_tasks = sum(seconds for name, seconds in names.items() if group_of(name) in ENGINES)

    shop(settings, *INCREMENT)
    before = read_cpu(settings)
    with bare_run() as context:
        seconds, bare = build_bare({group: built for group, built in models.items() if built}, context)
    bare_services = difference(read_cpu(settings), before)
    measure_run(settings)  # publish the rows that the bare build has written

    show("CPU seconds by task", ["task", "CPU"], [(name, f"{spent:.2f}") for name, spent in names.items()])
    print(
        f"{count} models: {in_tasks:.1f} CPU s in tasks, {bare:.1f} bare; engines"
        f" {sum(cost.cpu[name] for name in ENGINE_SERVICES):.1f} CPU s in the whole run,"
        f" {sum(bare_services[name] for name in ENGINE_SERVICES):.1f} with the bare build."
        f" {BUILD_ENTITIES} and the other tasks do not count."
    )
    record("hour over a bare build", cost.seconds / seconds, "times", "at most 1.5", {"hour": [cost]})
    record(
        "tax",
        (in_tasks - bare) / count,
        "CPU s per model",
        "at most 1.2",
        {"hour": [cost]},
        count_orders(settings),
    )
