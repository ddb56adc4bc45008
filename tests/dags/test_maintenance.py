"""The graph of medallion_maintenance, and what it tells the engines."""

import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

from medallion.run.window import RunKind

JOBS = Path(__file__).parents[2] / "include" / "spark_jobs"


@pytest.fixture
def maintenance(dag_bag: DagBag) -> DAG:
    return dag_bag.dags["medallion_maintenance"]


def test_steps_follow_one_another_under_the_lease(maintenance: DAG) -> None:
    steps = ["begin", "measure", "compact", "expire"]
    assert set(maintenance.task_ids) == {*steps, "end"}
    for before, after in pairwise(steps):
        assert after in maintenance.get_task(before).downstream_task_ids
    begin, end = maintenance.get_task("begin"), maintenance.get_task("end")
    assert begin.is_setup and end.is_teardown
    assert end.upstream_task_ids >= set(steps[1:])


def test_run_has_no_window(maintenance: DAG) -> None:
    begin: Any = maintenance.get_task("begin")
    assert begin.kind is RunKind.MAINTENANCE and not begin.kind.reads_source


def test_spark_is_told_the_tables_to_compact_once_the_lease_is_held(maintenance: DAG) -> None:
    measured = [
        {"name": "bronze.orders", "sorted_by": [], "sort": False, "compact": True},
        {"name": "gold.sales_by_day", "sorted_by": [], "sort": False, "compact": False},
    ]
    task: Any = maintenance.get_task("compact").prepare_for_execution()
    held = []
    task.render_template_fields(
        {
            "ti": SimpleNamespace(
                dag_id=maintenance.dag_id, task_id="compact", xcom_pull=lambda task_ids: measured
            ),
            "run_state": held.append,
        },
        maintenance.get_template_env(),
    )
    assert len(held) == 1
    tables = task.application_args[task.application_args.index("--tables") + 1]
    assert json.loads(tables) == measured[:1]
    assert task.name == "medallion medallion_maintenance.compact"
    assert Path(task.application) == JOBS / "compact.py" and Path(task.application).exists()
    assert task.max_active_tis_per_dag == 1


def test_killed_expiry_ends_its_statements(maintenance: DAG) -> None:
    assert "cancel_on_kill" in maintenance.get_task("expire").on_kill.__qualname__
