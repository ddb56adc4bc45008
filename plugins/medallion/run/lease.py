"""The lease: one run writes at a time, over all our DAGs. Runs get it in the order in which they first asked."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk.exceptions import AirflowFailException
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from medallion.engines.leftovers import end_all_leftovers
from medallion.engines.postgres import Cursor, transaction
from medallion.run.attempts import attempt_of, is_recorded, run_of
from medallion.settings import settings
from medallion.store.attempts import open_attempt, open_tasks_of_last_batch
from medallion.store.pipeline import (
    Pipeline,
    Run,
    first_in_queue,
    give_lease,
    leave_queue,
    lock_pipeline_row,
    publication_batch,
    release_lease,
)

# A run that stops asking loses its place in the queue after this time, or after this many polls if they take longer.
PATIENCE, POLLS = timedelta(minutes=5), 4
# A task's process may outlive its run by this many seconds: Airflow stops it at the next heartbeat and kills it
# shortly after.
LAST_SECONDS = 20
# How long taking the lease may last. It is longer than the waits for these processes and for the engines.
TAKING_LIMIT = timedelta(minutes=5)


class LeaseHeldError(AirflowFailException):
    """Another run holds the lease; the message names it."""


def is_finished(ti: Any, run: Run) -> bool:
    """Return whether a run can no longer write.

    A run can't write after it has ended or was deleted. The same holds if none of its tasks is running and none will
    start: its DAG is paused or removed, or the run was cleared and is queued. A cleared run asks for the lease again.
    `ti` is the running task instance, which asks Airflow: tasks can't read the metadata database in Airflow 3.
    """

    def is_any(*states: str) -> bool:
        return bool(ti.get_dr_count(run.dag_id, run_ids=[run.run_id], states=[*states]))

    if not is_any("queued", "running"):
        return True
    if is_any("running"):
        dag = ti.get_dag(run.dag_id)
        # Airflow does not report a removed DAG and leaves its runs unchanged. All our DAGs are in one folder.
        is_gone = not Path(ti.task.dag.fileloc).with_name(Path(dag.relative_fileloc).name).exists()
        if not (dag.is_paused or is_gone):
            return False
    states = ti.get_task_states(run.dag_id, run_ids=[run.run_id]).get(run.run_id, {})
    return not {"running", "deferred", "queued", "restarting"} & {str(state) for state in states.values()}


def ask_lease(ti: Any) -> Run | None:
    """Take the lease for the run of `ti` if it is free and no run has waited longer.

    Returns None if the run holds the lease now, else the run that comes first. Repeated calls keep the run's place.
    """
    run = run_of(ti)
    patience = max(PATIENCE, POLLS * settings().lease_poll)
    with transaction() as cursor:
        holder = lock_pipeline_row(cursor).holder
        first = run if holder == run else first_in_queue(cursor, run, patience)
    if first == run:
        return try_lease(ti)
    if is_finished(ti, first):
        with transaction() as cursor:
            leave_queue(cursor, first)
    return holder or first


def try_lease(ti: Any) -> Run | None:
    """Take the lease for the run of `ti` under a new batch, or keep it; the queue is not considered.

    A run whose batch is published gets a new one, because nothing may be written under a published batch.
    Returns None if the run holds the lease now, else the run that holds it.
    """
    run = run_of(ti)
    finished: Run | None = None
    while True:
        with transaction() as cursor:
            pipeline = lock_pipeline_row(cursor)
            if pipeline.holder == run and publication_batch(cursor) < (pipeline.lease_batch or 0):
                # Inside the row lock: either the task that publishes this batch sees this attempt, or the attempt
                # gets the next batch.
                if is_recorded(ti):
                    open_attempt(cursor, attempt_of(ti))
                return None
        # The rest waits for the engines and for Airflow, so it runs without the row lock, which other tasks need.
        if pipeline.holder in (None, run, finished):
            take_lease(run, pipeline)
        elif is_finished(ti, pipeline.holder):
            finished = pipeline.holder
        else:
            return pipeline.holder


def take_lease(run: Run, former: Pipeline) -> None:
    """Give the lease to `run` under a new batch, once all statements of earlier runs have ended.

    `former`: the row of `audit.pipeline` by which the caller found that the lease may be taken. If another task has
    changed the row since, this does nothing.
    """
    with transaction(idle_limit=TAKING_LIMIT) as guard:
        # One run at a time takes the lease. The others wait for this lock, so that the row is free for their tasks.
        guard.execute("select pg_advisory_xact_lock(hashtext('medallion lease'))")
        with transaction() as cursor:
            current = lock_pipeline_row(cursor)
            if (current.holder, current.lease_batch) != (former.holder, former.lease_batch):
                return
            # A task of a run that has lost the lease is refused from now on.
            if former.holder:
                release_lease(cursor, former.holder)
        wait_for_open_attempts(run)
        end_all_leftovers()
        # Draw the batch last, so that nothing is written under an earlier batch afterwards.
        with transaction() as cursor:
            give_lease(cursor, run)


@retry(
    retry=retry_if_result(bool),
    wait=wait_fixed(0.5),
    stop=stop_after_delay(LAST_SECONDS),
    retry_error_callback=lambda _: [],
)
def wait_for_open_attempts(run: Run) -> list[str]:
    """Wait for tasks of a stopped run: one may be about to send a statement, which nobody could cancel yet."""
    with transaction() as cursor:
        return open_tasks_of_last_batch(cursor, run)


def lock_pipeline(cursor: Cursor, ti: Any) -> Pipeline:
    """Return the row of `audit.pipeline`, locked. Raises LeaseHeldError if the run of `ti` has lost the lease."""
    pipeline = lock_pipeline_row(cursor)
    check_holder(pipeline, ti)
    return pipeline


def check_holder(pipeline: Pipeline, ti: Any) -> None:
    """Raise LeaseHeldError if the run of `ti` has lost the lease."""
    if pipeline.holder != run_of(ti):
        raise LeaseHeldError("This run has lost the lease in the meantime. Clear this task.")


def hold_lease(ti: Any) -> None:
    """Make sure that the run of `ti` holds the lease; a free one is taken again.

    Raises LeaseHeldError if another run holds it.
    """
    if holder := try_lease(ti):
        raise LeaseHeldError(
            f"Run {holder.run_id} of DAG {holder.dag_id} holds the lease. Clear this task after that run has finished."
        )


def release(ti: Any) -> None:
    """Free the lease; no effect if the run of `ti` does not hold it."""
    with transaction() as cursor:
        release_lease(cursor, run_of(ti))
