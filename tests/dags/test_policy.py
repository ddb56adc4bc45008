"""Rules for every DAG and every task."""

import ast
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import BaseOperator, CronDataIntervalTimetable
from airflow.serialization.serialized_objects import DagSerialization

from medallion import names
from medallion.names import Group
from medallion.tasks.hooks import claim, claim_for_dbt, claim_to_stage, finish, start
from medallion.tasks.spark import SparkJobOperator

from .conftest import DAGS

EXPECTED = {names.HOURLY_DAG, names.RECONCILE_DAG, names.MAINTENANCE_DAG, names.ROLLBACK_DAG}
SCHEDULED = EXPECTED - {names.ROLLBACK_DAG}
PUBLISHING = {names.HOURLY_DAG}


def tasks(dag_bag: DagBag) -> Iterator[Any]:
    return (task for dag in dag_bag.dags.values() for task in dag.tasks)


def test_every_file_loads(dag_bag: DagBag) -> None:
    assert dag_bag.import_errors == {}
    assert set(dag_bag.dags) == EXPECTED


def test_one_file_a_dag_named_like_it() -> None:
    assert {path.stem for path in DAGS.glob("*.py")} == EXPECTED


def test_dags_do_not_import_one_another() -> None:
    for path in DAGS.glob("*.py"):
        imported = {
            alias.name.partition(".")[0]
            if isinstance(node, ast.Import)
            else (node.module or "").partition(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert not imported & (EXPECTED | {"dags"}), path


def test_dags_serialise(dag_bag: DagBag) -> None:
    for dag in dag_bag.dags.values():
        assert DagSerialization.to_dict(dag)["dag"]["dag_id"] == dag.dag_id


def test_dags_are_described_and_never_overlap(dag_bag: DagBag) -> None:
    for dag in dag_bag.dags.values():
        assert dag.doc_md and names.DAG_TAG in dag.tags
        assert isinstance(dag.timetable, CronDataIntervalTimetable) == (dag.dag_id in SCHEDULED)
        assert (dag.catchup, dag.max_active_runs) == (False, 1)
        assert dag.dagrun_timeout
        assert bool(dag.deadline) == (dag.dag_id in PUBLISHING)
        for name in dag.params:
            assert dag.params.get_param(name).description, f"param {name} of {dag.dag_id}"


def test_tasks_are_retried_with_backoff_and_end_in_time(dag_bag: DagBag) -> None:
    for task in tasks(dag_bag):
        assert task.retries >= 3, task.task_id
        assert task.retry_exponential_backoff > 1, task.task_id
        assert timedelta() < task.retry_delay < task.max_retry_delay <= timedelta(minutes=10), task.task_id
        assert task.execution_timeout == timedelta(hours=1), task.task_id
        assert task.has_retry_policy, task.task_id


def test_tasks_have_an_owner(dag_bag: DagBag) -> None:
    assert {task.owner for task in tasks(dag_bag)} == {"data-platform"}


def test_a_later_attempt_ends_what_the_earlier_one_left(dag_bag: DagBag) -> None:
    """The hook before each task ends the task's earlier attempts. A Spark job's operator does this in a method."""
    for task in tasks(dag_bag):
        if isinstance(task, SparkJobOperator):
            assert task._pre_execute_hook is None, task.task_id
        else:
            assert task._pre_execute_hook in (start, claim, claim_for_dbt, claim_to_stage), task.task_id


def test_success_is_recorded_within_the_task(dag_bag: DagBag) -> None:
    assert {task._post_execute_hook for task in tasks(dag_bag)} == {finish}


def test_a_killed_task_ends_what_it_runs_on_an_engine(dag_bag: DagBag) -> None:
    """Tasks `without` an `on_kill` need none: they run no statement on Trino or Spark.

    Their statements on PostgreSQL end with the connection of the killed process.
    """
    without = {
        task.task_id
        for task in tasks(dag_bag)
        if type(task).on_kill is BaseOperator.on_kill and "on_kill" not in vars(task)
    }
    assert without == {
        names.BEGIN, names.END, names.MEASURE, names.PRUNE, Group.AUDIT, Group.PUBLISH, names.CHOOSE, names.RESTORE
    }  # fmt: skip
    for task in tasks(dag_bag):
        if task.task_id not in without and not isinstance(task, SparkJobOperator):
            assert "cancel_on_kill" in task.on_kill.__qualname__, task.task_id


def test_notifier_of_the_settings_is_called_on_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    from medallion.settings import settings
    from medallion.tasks import alerts

    monkeypatch.setenv("MEDALLION_NOTIFIER", "airflow.providers.smtp.notifications.smtp.SmtpNotifier")
    monkeypatch.setenv("MEDALLION_NOTIFIER_ARGUMENTS", '{"to": "team@example.org"}')
    settings.cache_clear()
    try:
        [notifier] = alerts.notifiers()
        assert notifier.to == "team@example.org"
    finally:
        settings.cache_clear()
