"""The tasks of the hourly DAG in one process: the same models, jobs and SQL, but faster, because without Airflow."""

import itertools
import json
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
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from medallion.engines.leftovers import tag
from medallion.engines.postgres import transaction
from medallion.names import BEGIN, BRONZE, ENGINES, HOURLY_DAG, Group, group_of, model_of, task_id
from medallion.project.contracts import GoldTable, gold_tables
from medallion.project.declarations import Declaration, declarations
from medallion.project.manifest import build_tasks, cached_per_manifest, entities, model_nodes
from medallion.publish import audit, publish
from medallion.run import lease
from medallion.run.attempts import AttemptListener, close_attempt
from medallion.run.code import begin_with_code
from medallion.run.pending import tables_with_new_rows
from medallion.run.request import record_window
from medallion.run.state import RunState, claim_run
from medallion.run.window import RunKind, Window
from medallion.settings import SPARK_JOBS, SQL, TRINO_CONNECTION
from medallion.store.migrations import upgrade_store
from medallion.store.pipeline import read_pipeline, request_rebuild
from medallion.tasks.idle import skip_idle_tasks
from medallion.tasks.stage import STATEMENTS, staging_statement
from stack.environment import environment
from support.task_instance import Task, dag_of

from ..conftest import Stack

# If silver_staging was skipped, Airflow skips these groups, too.
SKIPPED_WITH_STAGING = (Group.SILVER_MARTS, Group.GOLD)


@cached_per_manifest("trino")
def task_graph() -> DAG:
    """Return a DAG of the tasks whose attempts are recorded here: one per bronze table, and one per later layer."""
    bronze = [task_id(Group.BRONZE, node["name"]) for node in model_nodes() if node["schema"] == BRONZE]
    groups = {group_of(task) for task in build_tasks().values()}
    models = (group for group in SKIPPED_WITH_STAGING if group in groups)
    builders = (*bronze, Group.SILVER_STAGING, *models)
    return dag_of(HOURLY_DAG, (BEGIN,), builders, (Group.AUDIT,), (Group.STAGE,), (Group.PUBLISH,))


def entity_halves() -> dict[str, list[str]]:
    """Return the entities in two halves. Each half is a task here, because a killed Spark job may build only some."""
    orders = [name for name in entities() if name.startswith("order")]
    return {"orders": orders, "reference": [name for name in entities() if name not in orders]}


class InProcessPipeline:
    """Runs of the pipeline, one after the other.

    audits: run -> result of its task `audit`. attempts: run -> how often it was started or cleared. idle: run -> the
    halves of the entities that the run skipped.
    """

    def __init__(self, stack: Stack, log: Path) -> None:
        """Start a client of the stack's Spark, which writes its log into the file `log`."""
        self.dbt, self.log = stack.dbt, log
        self.environment = environment(stack.settings) | {
            "SPARK_REMOTE": f"sc://127.0.0.1:{stack.settings.connect_port}"
        }
        self.audits: dict[str, audit.Audited] = {}
        self.attempts: Counter[str] = Counter()
        self.idle: dict[str, set[str]] = {}
        self.spark = self.start_spark(SPARK_JOBS)

    def start_spark(self, jobs: Path) -> subprocess.Popen[str]:
        """Start a client of Spark that uses the code in the folder `jobs`."""
        return subprocess.Popen(
            [sys.executable, Path(__file__).with_name("spark_server.py")],
            env=self.environment | {"PYTHONPATH": str(jobs)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("a"),
            text=True,
        )

    def close(self) -> None:
        """Stop the client of Spark."""
        self.spark.kill()
        self.spark.wait()

    def draw_tasks(self, rng: random.Random) -> list[str]:
        """Return the tasks of a run, layer by layer; within a layer `rng` decides the order."""
        names_by_group: dict[str, list[str]] = {
            Group.BRONZE: [],
            Group.SILVER_STAGING: list(entity_halves()),
            Group.SILVER_MARTS: [],
            Group.GOLD: [],
        }
        for task in sorted(build_tasks().values()):
            names_by_group[group_of(task)].append(model_of(task))
        names_by_group |= {
            Group.AUDIT: [""],
            Group.STAGE: [table.name for table in gold_tables()],
            Group.PUBLISH: [""],
        }
        return [
            f"{group}.{name}".rstrip(".")
            for group, names in names_by_group.items()
            for name in rng.sample(names, len(names))
        ]

    def run(
        self,
        run_id: str,
        kind: RunKind,
        window: Window | None = None,
        tasks: Sequence[str] | None = None,
        rebuild: str = "none",
    ) -> None:
        """Do all tasks of a run, or only `tasks`.

        `tasks` are the run's first tasks, as if it was killed after them, or tasks that were cleared. Tasks without
        work are skipped, except in a reconciliation and in a run that was started before.

        Raises AssertionError if a task fails, and AirflowFailException if the run cannot publish what it audited.
        """
        self.attempts[run_id] += 1
        chosen = self.draw_tasks(random.Random(0)) if tasks is None else tasks
        ti = Task(run_id, dag=task_graph(), try_number=self.attempts[run_id])
        # The lease is free, because runs here are one after the other.
        assert lease.try_lease(ti) is None
        if rebuild != "none":
            with transaction() as cursor:
                request_rebuild(cursor, rebuild)
        record_window(ti, kind, window, window)
        begin_with_code(ti, builds=kind is not RunKind.RECONCILE, accepted=rebuild != "none")
        takes_all_tables = ti.try_number > 1 or kind is RunKind.RECONCILE
        skipped = [] if takes_all_tables else skip_idle_tasks(ti)
        remaining = [task for task in chosen if not {task, group_of(task)} & {*skipped}]
        for group, tasks_of_group in itertools.groupby(remaining, group_of):
            if group in SKIPPED_WITH_STAGING and self.idle.get(run_id) == entity_halves().keys():
                continue
            task_ids = list(tasks_of_group)
            with self.record_attempts(ti, task_ids if group == Group.BRONZE else [group]):
                self.do_tasks(ti, Group(group), [task.partition(".")[2] for task in task_ids])

    def do_tasks(self, ti: Task, group: Group, names: list[str]) -> None:
        """Do the tasks of a group that have the given names."""
        state = claim_run(ti)
        match group:
            case Group.BRONZE | Group.SILVER_MARTS | Group.GOLD:
                success, output = self.dbt.run(ENGINES[group], names, state.json())
                assert success, output
            case Group.SILVER_STAGING:
                self.build_entities(ti.run_id, state, names)
            case Group.AUDIT:
                self.audits[ti.run_id] = audit.audit_run(ti, {"allow_rejected": True})
            case Group.STAGE:
                self.stage(ti, names)
            case Group.PUBLISH:
                with suppress(AirflowSkipException):  # a later run has published these rows
                    publish.publish(ti, self.audits.get(ti.run_id))

    @contextmanager
    def record_attempts(self, ti: Task, task_ids: Sequence[str]) -> Iterator[None]:
        """Record each attempt's start, and whether it was skipped or succeeded, as in Airflow: `publish` reads this."""
        for ti.task_id in task_ids:
            AttemptListener().on_task_instance_running(None, ti)
        is_skipped = False
        try:
            yield
        except AirflowSkipException:
            is_skipped = True
        for ti.task_id in task_ids:
            if is_skipped:
                AttemptListener().on_task_instance_skipped(None, ti)
            else:
                close_attempt({"ti": ti})

    def build_entities(self, run_id: str, state: RunState, halves: Sequence[str]) -> None:
        """Let Spark build the entities of `halves` whose bronze tables have new rows.

        Raises AirflowSkipException if none of these tables has new rows.
        """
        changed = {half: tables_with_new_rows(state, entity_halves()[half]) for half in sorted(halves)}
        idle = {half for half, tables in changed.items() if not tables}
        self.idle[run_id] = self.idle.get(run_id, set()) - changed.keys() | idle
        if idle == changed.keys():
            raise AirflowSkipException
        declared = declarations()
        self.build([declared[name] for name in itertools.chain(*changed.values())], state.json())

    def build(self, entities: Sequence[Declaration], run: str) -> None:
        """Let Spark build entities; `run` is the run's context as JSON."""
        assert self.spark.stdin and self.spark.stdout
        request = {"entities": [entity.json() for entity in entities], "run": run}
        self.spark.stdin.write(json.dumps(request) + "\n")
        self.spark.stdin.flush()
        outcome = self.spark.stdout.readline()
        assert outcome == '"done"\n', outcome or self.log.read_text()[-3000:]

    def stage(self, ti: Task, names: Sequence[str]) -> None:
        """Stage the changes of gold tables with the DAG's statements, several tables at a time."""
        ti.xcoms = {Group.AUDIT: self.audits[ti.run_id]}
        # The linter wants Jinja to escape values for HTML, but these templates are SQL.
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
        """Delete all traces of runs: the published tables, the state tables, and the lake's tables of the layers."""
        for record in (self.audits, self.idle, self.attempts):
            record.clear()
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
            # If bronze stays, it has rows of earlier batches. New batches must have higher numbers.
            cursor.execute("update audit.pipeline set last_batch = %s", (last_batch,))


def client_variables(environment: dict[str, str]) -> dict[str, str]:
    """Return the environment variables with the addresses of the engines, for Airflow's hooks and pyiceberg."""
    prefixes = ("AIRFLOW_CONN_", "PYICEBERG_", "PGSERVICEFILE")
    return {name: value for name, value in environment.items() if name.startswith(prefixes)}
