"""Task instances that Airflow need not run for."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


class AllBut(frozenset[str]):
    """Every name but those."""

    def __contains__(self, name: object) -> bool:
        return not super().__contains__(name)


@dataclass
class Task:
    """A task instance as far as the lease and the audit ask it; `airflow` is what Airflow knows of the runs.

    dag_file: where Airflow found the DAG of the run that is asked about.
    task_ids: of its own DAG, as far as they matter.
    follows: task -> the tasks before it, in its DAG. It itself follows all but the `bystanders`.
    """

    run_id: str
    task_id: str = "begin"
    try_number: int = 1
    dag_id: str = "medallion_hourly"
    airflow: dict[str, str] = field(default_factory=dict)
    paused: bool = False
    states: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ("medallion",)
    xcoms: dict[str, Any] = field(default_factory=dict)
    follows: dict[str, set[str]] = field(default_factory=dict)
    bystanders: tuple[str, ...] = ("publish",)
    dag_file: str = __file__
    task_ids: tuple[str, ...] = ()

    @property
    def task(self) -> Any:
        """Its operator."""

        def get_task(name: str) -> Any:
            return SimpleNamespace(get_flat_relative_ids=lambda upstream: self.follows.get(name, set()))

        return SimpleNamespace(
            dag=SimpleNamespace(tags=self.tags, task_ids=self.task_ids, get_task=get_task, fileloc=__file__),
            get_flat_relative_ids=lambda upstream: AllBut(self.bystanders),
        )

    def get_dr_count(self, dag_id: str, run_ids: list[str], states: list[str]) -> int:
        """How many of the runs are in one of the states."""
        return sum(self.airflow.get(run) in states for run in run_ids)

    def get_dag(self, dag_id: str) -> Any:
        """The DAG."""
        return SimpleNamespace(is_paused=self.paused, relative_fileloc=self.dag_file)

    def get_task_states(self, dag_id: str, run_ids: list[str]) -> dict[str, dict[str, str]]:
        """Run -> task -> state."""
        return {run: self.states for run in run_ids}

    def xcom_pull(self, task_ids: str) -> Any:
        """What the task returned."""
        return self.xcoms[task_ids]
