"""The tasks of the hourly DAG on warm engines: the same models, jobs and SQL, without Airflow's own time."""

import itertools
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from airflow.providers.trino.hooks.trino import TrinoHook
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.exceptions import AirflowSkipException
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from medallion.engines.leftovers import tag
from medallion.engines.postgres import transaction
from medallion.names import BRONZE, DAG_TAG, ENGINES, HOURLY_DAG, Group, group_of, model_of, task_id
from medallion.project.contracts import GoldTable, gold_tables
from medallion.project.manifest import build_tasks, entities, model_nodes
from medallion.publish import audit, publish
from medallion.run import lease
from medallion.run.attempts import AttemptListener, close_attempt
from medallion.run.pending import tables_with_new_rows
from medallion.run.state import RunState, claim_run
from medallion.run.window import RunKind, Window
from medallion.settings import SQL, TRINO_CONNECTION
from medallion.store.migrations import upgrade_store
from medallion.store.pipeline import read_pipeline, request_rebuild
from medallion.tasks.begin import record_window, skip_idle_tables
from medallion.tasks.stage import STATEMENTS, staging_statement
from stack.settings import ROOT
from support.task_instance import Task

from ..dbt_runner import Dbt

SILVER_GROUPS = (Group.SILVER_MARTS, Group.GOLD)  # skipped by Airflow after skipped entities


def graph() -> DAG:
    """Return the tasks of a run as attempts are recorded here: one per bronze table, and one per later group."""
    with DAG(HOURLY_DAG, schedule=None, tags=[DAG_TAG]) as dag:
        bronze = [task_id(Group.BRONZE, node["name"]) for node in model_nodes() if node["schema"] == BRONZE]
        builders = [
            BaseOperator(task_id=name)
            for name in (*bronze, Group.SILVER_STAGING, Group.SILVER_MARTS, Group.GOLD)
        ]
        last = [BaseOperator(task_id=name) for name in (Group.AUDIT, Group.STAGE, Group.PUBLISH)]
        builders >> last[0] >> last[1] >> last[2]  # type: ignore[operator]
    return dag


class GraphTask(Task):
    """A task instance of `graph`; `begin` is in no graph, so any task stands for it."""

    dag = None

    @property
    def task(self) -> Any:
        """Return the operator."""
        GraphTask.dag = GraphTask.dag or graph()
        known = self.task_id in GraphTask.dag.task_ids
        return GraphTask.dag.get_task(self.task_id if known else Group.AUDIT)


def halves() -> dict[str, list[str]]:
    """Return the entities in two parts, each a task here: a killed Spark job has built only some of them."""
    orders = [name for name in entities() if name.startswith("order")]
    return {"orders": orders, "reference": [name for name in entities() if name not in orders]}


class WarmPipeline:
    """Runs of the pipeline, one after the other; `environment` is that of the stack's processes."""

    def __init__(self, environment: dict[str, str], dbt: Dbt, log: Path) -> None:
        """Start Spark, which writes into `log`."""
        self.dbt, self.log = dbt, log
        self.audited: dict[str, dict[str, Any]] = {}
        self.tries: Counter[str] = Counter()
        self.idle: dict[str, set[str]] = {}  # run -> the halves of the entities that it skipped
        self.spark = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("silver_server.py")],
            env=environment
            | {"PYTHONPATH": os.pathsep.join([str(ROOT / "include" / "spark_jobs"), str(ROOT / "tests")])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
        )

    def close(self) -> None:
        """End Spark."""
        self.spark.kill()
        self.spark.wait()

    def tasks(self, draw: random.Random) -> list[str]:
        """Return the tasks of a run, those of a layer in any order."""
        named: dict[str, list[str]] = {
            Group.BRONZE: [],
            Group.SILVER_STAGING: list(halves()),
            Group.SILVER_MARTS: [],
            Group.GOLD: [],
        }
        for task in sorted(build_tasks().values()):
            named[group_of(task)].append(model_of(task))
        named |= {
            Group.AUDIT: [""],
            Group.STAGE: [table.name for table in gold_tables()],
            Group.PUBLISH: [""],
        }
        return [
            f"{group}.{name}".rstrip(".")
            for group, names in named.items()
            for name in draw.sample(names, len(names))
        ]

    def run(
        self,
        run_id: str,
        kind: RunKind,
        window: Window | None = None,
        tasks: Sequence[str] | None = None,
        rebuild: str = "none",
    ) -> None:
        """Do a run; or only `tasks` of it: its first ones, as if it had been killed then, or those that were cleared.

        Where it begins it leaves out the tables of bronze that have nothing for it.

        Raises AssertionError where a task fails, AirflowFailException where publishing has to begin anew.
        """
        self.tries[run_id] += 1
        asked = self.tasks(random.Random(0)) if tasks is None else tasks
        ti = GraphTask(run_id, try_number=self.tries[run_id])
        # Every other run has ended: the lease is free.
        assert lease.try_lease(ti) is None
        if rebuild != "none":
            with transaction() as cursor:
                request_rebuild(cursor, rebuild)
        record_window(ti, kind, window, window)
        is_begun = ti.try_number > 1 or kind is RunKind.RECONCILE
        quiet = [] if is_begun else skip_idle_tables(ti)
        busy = [task for task in asked if task not in quiet]
        for group, tasks_of_group in itertools.groupby(busy, group_of):
            if group in SILVER_GROUPS and self.idle.get(run_id) == halves().keys():
                continue  # Airflow skips the tasks after skipped ones
            done = list(tasks_of_group)
            with self.audited_tries(ti, done if group == Group.BRONZE else [group]):
                self.do(ti, Group(group), [task.partition(".")[2] for task in done])

    def do(self, ti: Task, group: Group, names: list[str]) -> None:
        """Do tasks of a group."""
        state = claim_run(ti)
        match group:
            case Group.BRONZE | Group.SILVER_MARTS | Group.GOLD:
                success, output = self.dbt.run(ENGINES[group], names, state.json())
                assert success, output
            case Group.SILVER_STAGING:
                self.make_entities(ti.run_id, state, names)
            case Group.AUDIT:
                self.audited[ti.run_id] = audit.audit_run(ti, {"allow_rejected": True})
            case Group.STAGE:
                self.stage(ti, names)
            case Group.PUBLISH:
                with suppress(AirflowSkipException):  # a later run has published it all
                    publish.publish(ti, self.audited[ti.run_id])

    @contextmanager
    def audited_tries(self, ti: Task, task_ids: Sequence[str]) -> Iterator[None]:
        """Tell the audit of tries, as Airflow does; publishing asks it what the tasks read."""
        for ti.task_id in task_ids:
            AttemptListener().on_task_instance_running(None, ti)
        yield
        for ti.task_id in task_ids:
            close_attempt({"ti": ti})

    def make_entities(self, run_id: str, state: RunState, names: Sequence[str]) -> None:
        """Have those of the halves of the entities that have news made by the warm Spark."""
        assert self.spark.stdin and self.spark.stdout
        news = {name: tables_with_new_rows(state, halves()[name]) for name in sorted(names)}
        idle = {name for name, tables in news.items() if not tables}
        self.idle[run_id] = self.idle.get(run_id, set()) - news.keys() | idle
        if idle == news.keys():
            return
        request = {"entities": list(itertools.chain(*news.values())), "run": state.json()}
        self.spark.stdin.write(json.dumps(request) + "\n")
        self.spark.stdin.flush()
        outcome = self.spark.stdout.readline()
        assert outcome == '"done"\n', outcome or self.log.read_text()[-3000:]

    def stage(self, ti: Task, names: Sequence[str]) -> None:
        """Stage what differs of the gold tables, by the DAG's own statements, side by side as it does."""
        ti.xcoms = {Group.AUDIT: self.audited[ti.run_id]}
        # SQL is not HTML: nothing to escape.
        templates = Environment(loader=FileSystemLoader(SQL), undefined=StrictUndefined)  # noqa: S701

        def stage_table(table: GoldTable) -> None:
            trino: Any = TrinoHook(TRINO_CONNECTION)  # type: ignore[no-untyped-call]
            trino.run(
                [
                    templates.from_string(staging_statement(file, table, Group.AUDIT)).render(ti=ti, tag=tag)
                    for file in STATEMENTS
                ]
            )

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(stage_table, [table for table in gold_tables() if table.name in names]))

    def forget(self, *layers: str) -> None:
        """Drop what was published, and the lake's tables of the layers: as if nothing had ever been made of them."""
        for told in (self.audited, self.idle, self.tries):
            told.clear()
        trino: Any = TrinoHook(TRINO_CONNECTION)  # type: ignore[no-untyped-call]
        for layer in layers:
            for (name,) in trino.get_records(f"show tables from lake.{layer}"):
                trino.run(f"drop table lake.{layer}.{name}")
        upgrade_store()
        with transaction() as cursor:
            last_batch = read_pipeline(cursor).last_batch
            cursor.execute(
                "select format('drop table %I.%I', schemaname, tablename) as statement from pg_tables"
                " where schemaname in ('gold', 'staging', 'audit')"
            )
            for row in cursor.fetchall():
                cursor.execute(row.statement)
        upgrade_store()
        with transaction() as cursor:
            # Bronze keeps rows of the old batches: new ones continue from there.
            cursor.execute("update audit.pipeline set last_batch = %s", (last_batch,))


def in_environment(environment: dict[str, str]) -> dict[str, str]:
    """Return what makes a process one of the stack's, as far as Airflow's connections and pyiceberg go."""
    ours = ("AIRFLOW_CONN_", "PYICEBERG_", "PGSERVICEFILE")
    return {name: value for name, value in environment.items() if name.startswith(ours)}
