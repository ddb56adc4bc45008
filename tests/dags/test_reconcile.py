"""The tasks of medallion_reconcile, their order and their parameters."""

from typing import Any

from airflow.sdk import DAG

from medallion import names
from medallion.names import MODELS, Group, task_id
from medallion.run.window import RunKind

from .project import LAYERS, tasks_of

TESTS = task_id(names.TESTS_GROUP, "trino")


def test_one_task_per_table_beside_the_tests_within_the_lease(reconcile: DAG) -> None:
    tasks = tasks_of(Group.BRONZE) | {TESTS}
    assert set(reconcile.task_ids) == tasks | {names.BEGIN, names.END}
    begin, end = reconcile.get_task(names.BEGIN), reconcile.get_task(names.END)
    assert begin.is_setup and end.is_teardown
    for name in tasks:
        task: Any = reconcile.get_task(name)
        assert (task.upstream_task_ids, task.downstream_task_ids) == ({names.BEGIN}, {names.END}), name
        assert task.max_active_tis_per_dag == 1


def test_all_its_runs_reconcile(reconcile: DAG) -> None:
    begin: Any = reconcile.get_task(names.BEGIN)
    assert begin.kind is RunKind.RECONCILE


def test_on_from_the_start_like_maintenance(reconcile: DAG, maintenance: DAG) -> None:
    assert reconcile.is_paused_upon_creation is False and maintenance.is_paused_upon_creation is False


def test_all_data_tests_but_those_of_bronze_run_on_whole_tables(reconcile: DAG) -> None:
    task: Any = reconcile.get_task(TESTS)
    assert task.exclude == MODELS[Group.BRONZE]
    assert "unit_test" in task.dbt_cmd_flags


def test_tables_are_assets(reconcile: DAG) -> None:
    outlets = {asset.name for task in reconcile.tasks for asset in task.outlets}
    assert outlets == {f"lake.{names.lake_table(names.BRONZE, model)}" for model in LAYERS[Group.BRONZE]}


def test_daily_and_its_only_parameter(reconcile: DAG) -> None:
    timetable: Any = reconcile.timetable
    assert timetable.expression == "30 3 * * *"
    assert {name: reconcile.params[name] for name in reconcile.params} == {"allow_deletes": False}
