"""Render a task's templates and run its hooks, as a worker does before it executes the task, but without Airflow."""

from types import SimpleNamespace
from typing import Any

from airflow.sdk import DAG
from airflow.sdk.definitions.param import process_params
from jinja2 import StrictUndefined

from medallion import names
from medallion.run.state import RunState

STATE = RunState(
    kind="scheduled", batch=7, published_batch=5, publication=6,
    extract_from="2018-05-01 10:45:00.000000", extract_to="2018-05-01 12:00:00.000000",
    chunk_rows=1000, snapshots={"gold.some": 42}, rebuild="none", compare_whole="none", outdated=[],
    tested_rows="changed", max_deleted_share=1, max_deleted_from=1,
    lake_catalog="lake", gold_catalog="postgres_gold", target_file_bytes=1024,
)  # fmt: skip
AUDITED: dict[str, Any] = {
    "batch": 7, "staging": "7_2", "snapshots": {}, "columns": {}, "base_batch": 5, "base_snapshots": {}
}  # fmt: skip
MEASURED = [{"name": "bronze.some", "sorted_by": [], "sort": False, "compact": True}]
# Task -> its result, for the tasks whose results other tasks read.
XCOMS = {names.Group.AUDIT: AUDITED, names.CHOOSE: AUDITED, names.MEASURE: MEASURED}
HOSTS = {"medallion_trino": ("trino.example", 8080), "medallion_thrift": ("thrift.example", 10000)}


def task_instance(task: Any, xcoms: dict[str, Any]) -> Any:
    """Return a task instance in its second attempt, with the attributes that templates and hooks use."""
    return SimpleNamespace(
        dag_id=task.dag_id, task_id=task.task_id, run_id="run", try_number=2, task=task,
        xcom_pull=lambda task_ids, **_: xcoms.get(task_ids),
    )  # fmt: skip


def context_of(
    task: Any, conf: dict[str, Any] | None = None, xcoms: dict[str, Any] = XCOMS
) -> dict[str, Any]:
    """Return the context of a task in a run that is triggered with `conf`."""
    return {
        "ti": task_instance(task, xcoms),
        "params": process_params(task.dag, task, conf or {}, suppress_exception=False),
        "conn": SimpleNamespace(
            **{
                name: SimpleNamespace(host=host, port=port, login="etl")
                for name, (host, port) in HOSTS.items()
            }
        ),
        "dag_run": SimpleNamespace(conf=conf),
    }


def render(dag: DAG, task_id: str, **context: Any) -> Any:
    """Return a task with rendered templates. A template variable that the context lacks is an error."""
    task: Any = dag.get_task(task_id).prepare_for_execution()
    environment = dag.get_template_env()
    environment.undefined = StrictUndefined
    task.render_template_fields(context_of(task, **context), environment)
    return task


def start(task: Any, **context: Any) -> None:
    """Run the hooks that Airflow runs before it executes a task."""
    given = context_of(task, **context)
    if task._pre_execute_hook:
        task._pre_execute_hook(given)
    task.pre_execute(given)
