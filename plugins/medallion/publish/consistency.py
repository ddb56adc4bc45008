"""Whether all that a run would publish was tested, and made of the same rows: each model has read what any has."""

from collections.abc import Container
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from medallion.engines.postgres import Cursor, transaction
from medallion.run.attempts import group_of, last_attempts, late_writers, read_batch
from medallion.run.state import RunState

MODELS = ("silver", "gold")
# The groups whose tasks write what others are made of; one of their tasks only reads.
WRITING, ENTITY_TESTS = ("entities", *MODELS), "entities.test"


def check_consistency(ti: Any, run: RunState) -> None:
    """Raises AirflowFailException where silver or gold may hold what not every model of the run of `ti` has read.

    Or what was captured by another run whose test of bronze failed.

    Its gold tables would not agree with each other; and published, such silver would pass for what gold was made of,
    so that no run would make again what it changed. It comes from another run, which wrote since and has not
    published; from a model that was marked as done by hand, or left out by `up_to`; or from a task that was cleared
    alone while those that follow it ran.
    """
    before = ti.task.get_flat_relative_ids(upstream=True)
    with transaction() as cursor:
        tries = last_attempts(cursor, ti)
        untested = find_untested_capture(cursor, ti, run.published_batch, before)
        other = find_unpublished_writer(cursor, ti, max(read_batch(tries, ti), run.published_batch))
    if untested:
        raise AirflowFailException(
            f"{untested.task_id} of run {untested.run_id} did not end well, and entities may be made of what it"
            f" captured: clear {untested.task_id} of this run with all downstream"
        )
    if other:
        raise AirflowFailException(
            f"run {other.run_id} has written silver or gold (batch {other.batch}) since this run's models read it, and"
            " has not published: clear what failed in that run, or the tasks of `entities` of this one with all"
            " downstream; the next run publishes all of it in any case"
        )
    making = {
        task: row
        for task, row in tries.items()
        if task in before and group_of(task) in WRITING and task != ENTITY_TESTS
    }
    check_models_ran(making, ti)
    check_order_of_writes({task: row for task, row in making.items() if row.is_done}, ti)


def find_untested_capture(cursor: Cursor, ti: Any, published: int, before: Container[str]) -> Any:
    """A task of bronze whose last try since the publication failed or died in another run: task_id, run_id; or None.

    Of those `before` the audit: one that the DAG has no more captured what nothing is made of.
    """
    cursor.execute(
        """
        with last as (
            select distinct on (task_id) task_id, dag_id, run_id, status
            from audit.data_pipeline_runs
            where batch > %s and split_part(task_id, '.', 1) = 'bronze' and status <> 'skipped'
            order by task_id, start_time desc
        )

        select task_id, run_id from last
        where status <> 'success' and (dag_id, run_id) <> (%s, %s)
        order by task_id
        """,
        (published, ti.dag_id, ti.run_id),
    )
    return next((row for row in cursor.fetchall() if row.task_id in before), None)


def find_unpublished_writer(cursor: Cursor, ti: Any, read: int) -> Any:
    """The last run but that of `ti` that wrote silver or gold above the batch `read`: run_id, batch; or None."""
    cursor.execute(
        """
        select run_id, batch
        from audit.data_pipeline_runs
        where
            (dag_id, run_id) <> (%s, %s) and batch > %s and status <> 'skipped'
            and split_part(task_id, '.', 1) = any(%s) and task_id <> %s
        order by batch desc limit 1
        """,
        (ti.dag_id, ti.run_id, read, [*WRITING], ENTITY_TESTS),
    )
    return cursor.fetchone()


def check_models_ran(making: dict[str, Any], ti: Any) -> None:
    """Raises AirflowFailException where entities were made, in the last tries `making`, and a model was not.

    One whose process was killed at its last try has a row that is still open.
    """
    # Without news the models were left out, too.
    if not any(row.status == "success" for task, row in making.items() if group_of(task) not in MODELS):
        return
    for task in ti.task.dag.task_ids:
        if group_of(task) in MODELS and (task not in making or not making[task].is_done):
            raise AirflowFailException(
                f"{task} was not made of what the run read, though it is marked as done, or was left out by"
                " `up_to`: clear it with all downstream"
            )


def check_order_of_writes(made: dict[str, Any], ti: Any) -> None:
    """Raises AirflowFailException where, of the last tries `made`, one wrote after another had read it."""
    for task in made:
        if late := late_writers(task, made, ti):
            raise AirflowFailException(
                f"{late[0]} has written after {task} had read it: clear {late[0]} with all downstream"
            )
