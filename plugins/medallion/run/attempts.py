"""Records each attempt of a task in `audit.data_pipeline_runs`, which publishing checks and people read.

`begin` has no row, because it creates the table; the window that it resolves is in `audit.runs`.
"""

from typing import Any

from airflow.listeners import hookimpl

from medallion.engines.postgres import transaction
from medallion.names import BEGIN, DAG_TAG
from medallion.run.test_results import collected_results, forget_results
from medallion.store.attempts import AttemptId, close_attempt_row, open_attempt, record_test_results
from medallion.store.pipeline import Run


def run_of(ti: Any) -> Run:
    """Return the run of a task instance."""
    return Run(ti.dag_id, ti.run_id)


def attempt_of(ti: Any) -> AttemptId:
    """Return the identity of a task instance's attempt."""
    return AttemptId(ti.dag_id, ti.run_id, ti.task_id, ti.try_number)


def is_recorded(ti: Any) -> bool:
    """Return whether attempts of this task are recorded: it is a task of our DAGs, and not `begin`."""
    # If somebody marks a task by hand, the api-server calls the listener, and `ti` has no operator.
    return bool(ti.task) and DAG_TAG in ti.task.dag.tags and ti.task_id != BEGIN


class AttemptListener:
    """Opens the row of each attempt of our tasks, and closes it unless the attempt succeeds."""

    @hookimpl
    def on_task_instance_running(self, previous_state: Any, task_instance: Any) -> None:
        """Open the row, unless claiming the lease has already opened it."""
        if is_recorded(task_instance):
            with transaction() as cursor:
                open_attempt(cursor, attempt_of(task_instance))

    @hookimpl
    def on_task_instance_skipped(self, previous_state: Any, task_instance: Any) -> None:
        """Close the row."""
        _close(task_instance, "skipped")

    @hookimpl
    def on_task_instance_failed(self, previous_state: Any, task_instance: Any, error: Any) -> None:
        """Close the row with the error."""
        _close(task_instance, "failed", error)


def close_attempt(context: Any, result: Any = None) -> None:
    """Close the row of an attempt that succeeded. A `post_execute` hook: if it fails, the task is retried.

    This is no listener, because Airflow ignores errors of listeners and may call them after downstream tasks have
    started. A row that stays open would block the publication.
    """
    _close(context["ti"], "success")


def _close(ti: Any, status: str, error: Any = None) -> None:
    if not is_recorded(ti):
        return
    with transaction() as cursor:
        close_attempt_row(cursor, attempt_of(ti), status, str(error) if error else None)
        record_test_results(cursor, attempt_of(ti), collected_results())
    forget_results()
