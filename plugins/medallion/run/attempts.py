"""One row per try of a task in `audit.data_pipeline_runs`: what publishing asks, and people read.

Not of `begin`, which creates the table; what it resolves is in `audit.runs`.
"""

from typing import Any

from airflow.listeners import hookimpl

from medallion.engines.postgres import Cursor, transaction
from medallion.run.test_results import record_test_results

DAG_TAG = "medallion"  # of each of our DAGs
ENTITIES = "entities.spark"  # the task that makes the silver entities


class AttemptListener:
    """Writes each try of a task of our DAGs into `audit.data_pipeline_runs`: as it starts, and unless it ends well."""

    @hookimpl
    def on_task_instance_running(self, previous_state: Any, task_instance: Any) -> None:
        """Open the try's row, if taking the lease has not."""
        if is_recorded(task_instance):
            with transaction() as cursor:
                open_attempt(cursor, task_instance)

    @hookimpl
    def on_task_instance_skipped(self, previous_state: Any, task_instance: Any) -> None:
        """Close the try's row."""
        _close(task_instance, "skipped")

    @hookimpl
    def on_task_instance_failed(self, previous_state: Any, task_instance: Any, error: Any) -> None:
        """Close the try's row with the error."""
        _close(task_instance, "failed", error)


def close_attempt(context: Any, result: Any = None) -> None:
    """Closes the row of a try that has done its work; a `post_execute` hook, whose error makes the task try again.

    Airflow swallows those of a listener, and calls it when the tasks that follow may have begun; and a model whose row
    stays open keeps its run from being published.
    """
    _close(context["ti"], "success")


def open_attempt(cursor: Cursor, ti: Any) -> None:
    """Open the row of a try that starts; earlier tries of the task that are still open died."""
    cursor.execute(
        """
        update audit.data_pipeline_runs set status = 'killed', end_time = now()
        where
            dag_id = %(dag)s and run_id = %(run)s and task_id = %(task)s and try_number < %(try)s
            and status = 'running'
        """,
        _identity(ti),
    )
    cursor.execute(
        """
        insert into audit.data_pipeline_runs as tries
            (dag_id, run_id, task_id, try_number, model_name, start_time, status, batch)
        select
            %(dag)s, %(run)s, %(task)s, %(try)s, %(model)s, now(), 'running',
            case when lease_dag_id = %(dag)s and lease_run_id = %(run)s then lease_batch end
        from audit.pipeline
        on conflict (dag_id, run_id, task_id, try_number) do update
        set
            status = excluded.status,
            batch = excluded.batch,
            -- One that had ended was of a deleted run of the same name.
            start_time = case when tries.end_time is null then tries.start_time else excluded.start_time end,
            end_time = null
        """,
        _identity(ti),
    )


def record_skipped(cursor: Cursor, ti: Any, tasks: list[str]) -> None:
    """Write, as a try before the first one, that tasks of the run of `ti` have nothing to do from now on."""
    cursor.executemany(
        """
        insert into audit.data_pipeline_runs
            (dag_id, run_id, task_id, try_number, model_name, start_time, end_time, status, batch)
        select %(dag)s, %(run)s, %(task)s, 0, %(model)s, now(), now(), 'skipped', lease_batch
        from audit.pipeline
        on conflict (dag_id, run_id, task_id, try_number) do update
        set start_time = excluded.start_time, end_time = excluded.end_time, batch = excluded.batch
        """,
        [_identity(ti, task) for task in tasks],
    )


def is_recorded(ti: Any) -> bool:
    """Whether it is a task of our DAGs, and not their first one, which creates the audit's tables."""
    # Airflow's own servers, where somebody marks a task by hand, know no operator.
    return bool(ti.task) and DAG_TAG in ti.task.dag.tags and ti.task_id != "begin"


def group_of(task_id: str) -> str:
    """The group that a task is in, mostly named as its layer; of a task in none its own name."""
    return task_id.partition(".")[0]


def _identity(ti: Any, task: str | None = None) -> dict[str, Any]:
    task = task or ti.task_id
    return {
        "dag": ti.dag_id,
        "run": ti.run_id,
        "task": task,
        "try": ti.try_number,
        "model": task.rpartition(".")[2],
    }


def _close(ti: Any, status: str, error: Any = None) -> None:
    if not is_recorded(ti):
        return
    with transaction() as cursor:
        cursor.execute(
            """
            update audit.data_pipeline_runs
            set status = %(status)s, end_time = now(), error = %(error)s
            where dag_id = %(dag)s and run_id = %(run)s and task_id = %(task)s and try_number = %(try)s
            """,
            _identity(ti) | {"status": status, "error": error and str(error)[:2000]},
        )
    with transaction() as cursor:
        record_test_results(cursor, _identity(ti))


def record_processed(cursor: Cursor, ti: Any, records: dict[str, int]) -> None:
    """Completes the last tries of tasks (task id -> records) of the run of `ti`."""
    cursor.executemany(
        """
        update audit.data_pipeline_runs as tries
        set records_processed = %(records)s
        where
            dag_id = %(dag)s and run_id = %(run)s and task_id = %(task)s
            and start_time = (
                select max(start_time) from audit.data_pipeline_runs as later
                where later.dag_id = tries.dag_id and later.run_id = tries.run_id and later.task_id = tries.task_id
            )
        """,
        [_identity(ti, task) | {"records": count} for task, count in records.items()],
    )


def last_attempts(cursor: Cursor, ti: Any) -> dict[str, Any]:
    """The last try of each task of the run of `ti`: task id -> its batch, times, and whether it ended well."""
    cursor.execute(
        """
        select distinct on (task_id)
            task_id,
            batch,
            start_time,
            end_time,
            status,
            status in ('success', 'skipped') as is_done,
            (select lease_batch from audit.pipeline) as lease_batch
        from audit.data_pipeline_runs
        where dag_id = %s and run_id = %s
        order by task_id, start_time desc
        """,
        (ti.dag_id, ti.run_id),
    )
    return {row.task_id: row for row in cursor.fetchall()}


def late_writers(task: str, tries: dict[str, Any], ti: Any) -> list[str]:
    """The tasks before `task`, of `tries`, that had not ended well when its last try began, or have not yet.

    Without those that were skipped, which wrote nothing.
    """
    before = ti.task.dag.get_task(task).get_flat_relative_ids(upstream=True) & tries.keys()
    writing = [each for each in before if tries[each].status != "skipped"]
    began = tries[task].start_time
    return [each for each in writing if not tries[each].is_done or tries[each].end_time > began]


def read_batch(last: dict[str, Any], ti: Any) -> int:
    """The batch up to which every task before that of `ti` read its input: the smallest over their last tries.

    A task that was cleared alone while the run went on may write under the batch of the run after those that follow
    it have read: where it has not ended well by now, or one of them began before it had, it is the batch before. Of
    tasks of bronze that ended well it does not matter when: what they wrote is read by the others, and its batch
    with it. It is none where the entities were never tried, but marked as done by hand.
    """
    if ENTITIES in {*ti.task.dag.task_ids} - last.keys():
        return 0
    # Of a run that was cleared the others are still as they were.
    before = ti.task.get_flat_relative_ids(upstream=True)
    tries = {task: row for task, row in last.items() if task in before}

    def read_by(task: str) -> int:
        row = tries[task]
        if not row.is_done:
            return int(row.batch or row.lease_batch) - 1
        return int(row.batch) - bool(late_writers(task, tries, ti))

    return min(read_by(task) for task, row in tries.items() if group_of(task) != "bronze" or not row.is_done)
