"""Task instances of small DAGs, for tests without a running Airflow."""

from dataclasses import dataclass, field
from itertools import chain, pairwise
from types import SimpleNamespace
from typing import Any

from airflow.sdk import DAG, BaseOperator

from medallion.names import DAG_TAG, HOURLY_DAG, MAINTENANCE_DAG, RECONCILE_DAG, ROLLBACK_DAG


def dag_of(dag_id: str, *steps: tuple[str, ...], tag: str = DAG_TAG) -> DAG:
    """Return a DAG in which each task of a step is downstream of all tasks of the step before."""
    with DAG(dag_id, schedule=None, tags=[tag]) as dag:
        tasks = {name: BaseOperator(task_id=name) for name in chain.from_iterable(steps)}
    for before, after in pairwise(steps):
        for name in before:
            tasks[name] >> [tasks[other] for other in after]
    return dag


# The project's DAGs, with the tasks that they have for the models in tests/support/models.
HOURLY = dag_of(
    HOURLY_DAG,
    ("begin",),
    ("bronze.devices", "bronze.readings"),
    ("silver_staging.spark",),
    ("silver_staging.test",),
    ("silver_marts.fact_readings",),
    ("silver_marts.test",),
    ("gold.devices_by_site", "gold.readings_by_day", "gold.readings_by_device_month"),
    ("audit",),
    ("stage.devices_by_site", "stage.readings_by_day", "stage.readings_by_device_month"),
    ("publish",),
    ("end", "freshness"),
)
RECONCILE = dag_of(RECONCILE_DAG, ("begin",), ("bronze.devices", "bronze.readings", "tests.trino"), ("end",))
MAINTENANCE = dag_of(MAINTENANCE_DAG, ("begin",), ("measure", "prune"), ("compact",), ("expire",), ("end",))
ROLLBACK = dag_of(ROLLBACK_DAG, ("begin",), ("choose",), ("restore",), ("end",))


@dataclass
class Task:
    """A replacement for Airflow's task instance, with the attributes that the package uses.

    runs: run -> its state in Airflow; runs that are missing here count as deleted. states: task -> its state, the same
    in every run. paused, dag_file: whether the DAG is paused, and its file, the same for every DAG. xcoms: task -> its
    result, and key -> the value that this task has pushed.
    """

    run_id: str
    task_id: str = "begin"
    try_number: int = 1
    dag: DAG = HOURLY
    runs: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    paused: bool = False
    dag_file: str = HOURLY.fileloc
    xcoms: dict[str, Any] = field(default_factory=dict)

    @property
    def dag_id(self) -> str:
        """Return the id of the task's DAG."""
        return self.dag.dag_id

    @property
    def task(self) -> Any:
        """Return the task's operator."""
        return self.dag.get_task(self.task_id)

    def get_dr_count(self, dag_id: str, run_ids: list[str], states: list[str]) -> int:
        """Return how many of the runs are in one of the states."""
        return sum(self.runs.get(run) in states for run in run_ids)

    def get_dag(self, dag_id: str) -> Any:
        """Return Airflow's record of a DAG."""
        return SimpleNamespace(is_paused=self.paused, relative_fileloc=self.dag_file)

    def get_task_states(self, dag_id: str, run_ids: list[str]) -> dict[str, dict[str, str]]:
        """Return the state of each task, by run."""
        return {run: self.states for run in run_ids}

    def xcom_pull(self, task_ids: str) -> Any:
        """Return the result of a task."""
        return self.xcoms[task_ids]

    def xcom_push(self, key: str, value: Any) -> None:
        """Store a value under a key."""
        self.xcoms[key] = value
