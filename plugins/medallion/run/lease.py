"""The lease: one writing run at a time over all our DAGs. Its row is `audit.pipeline`, its queue `lease_queue`."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk.exceptions import AirflowFailException
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from medallion.engines.leftovers import end_all_leftovers
from medallion.engines.postgres import Cursor, transaction
from medallion.run.attempts import is_recorded, open_attempt
from medallion.settings import settings

# A run that has not asked for so long, or so many polls, has no place in the queue any more.
PATIENCE, POLLS = timedelta(minutes=5), 4
# So long a task's process may outlive its run: Airflow tells it at its next heartbeat, and kills it some seconds later.
LAST_SECONDS = 20
# These write nothing.
READING = ("freshness", "end")


class LeaseHeldError(AirflowFailException):
    """Another run writes; the message names it."""


@dataclass(frozen=True)
class Run:
    """A run of any of our DAGs."""

    dag_id: str
    run_id: str


def is_finished(ti: Any, run: Run) -> bool:
    """Whether a run can write no more: it ended, was deleted, or none of its tasks runs and none will by itself.

    That is where its DAG is paused or gone, or where it was cleared and waits to be started again: maybe for the very
    run that asks, and it asks anew itself. `ti` is the running task instance, through which Airflow 3 answers (tasks
    have no metadata database).
    """

    def is_any(*states: str) -> bool:
        return bool(ti.get_dr_count(run.dag_id, run_ids=[run.run_id], states=[*states]))

    if not is_any("queued", "running"):
        return True
    if is_any("running"):
        dag = ti.get_dag(run.dag_id)
        # Airflow does not tell that a DAG is gone, and leaves its runs as they are. Our DAGs share a folder.
        is_gone = not Path(ti.task.dag.fileloc).with_name(Path(dag.relative_fileloc).name).exists()
        if not (dag.is_paused or is_gone):
            return False
    states = ti.get_task_states(run.dag_id, run_ids=[run.run_id]).get(run.run_id, {})
    return not {"running", "deferred", "queued", "restarting"} & {str(state) for state in states.values()}


def ask_lease(ti: Any) -> Run | None:
    """Takes the lease for the run of `ti` once it is free and no run that still waits has asked before.

    Returns None when the run holds it, else the run that comes first. Called again and again it keeps its place.
    """
    run = Run(ti.dag_id, ti.run_id)
    with transaction() as cursor:
        holder = _locked_holder(cursor)
        first = run if holder == run else _first_in_queue(cursor, run)
    if first == run:
        return try_lease(ti)
    if is_finished(ti, first):
        with transaction() as cursor:
            _leave_queue(cursor, first)
    return holder or first


def _first_in_queue(cursor: Cursor, run: Run) -> Run:
    """Notes that the run waits; returns the one that has waited longest."""
    # By the clock: the transaction may have waited for its turn since it began.
    cursor.execute(
        """
        insert into audit.lease_queue (dag_id, run_id, seen_at) values (%s, %s, clock_timestamp())
        on conflict (dag_id, run_id) do update set seen_at = excluded.seen_at
        """,
        (run.dag_id, run.run_id),
    )
    cursor.execute(
        "delete from audit.lease_queue where seen_at < clock_timestamp() - %s",
        (max(PATIENCE, POLLS * settings().lease_poll),),
    )
    cursor.execute("select dag_id, run_id from audit.lease_queue order by place limit 1")
    [first] = cursor.fetchall()
    return Run(*first)


def _leave_queue(cursor: Cursor, run: Run) -> None:
    cursor.execute(
        "delete from audit.lease_queue where (dag_id, run_id) = (%s, %s)", (run.dag_id, run.run_id)
    )


def try_lease(ti: Any) -> Run | None:
    """Takes the lease for the run of `ti` under a new batch, or keeps it where it has it; waits for no turn.

    A batch that is published already is not written under: the run that has it gets a new one. Returns None when the
    run holds the lease, else the run that does.
    """
    run = Run(ti.dag_id, ti.run_id)
    finished: Run | None = None
    while True:
        with transaction() as cursor:
            holder = _locked_holder(cursor)
            if holder in (None, run, finished):
                if holder != run or _is_published(cursor):
                    _take(cursor, ti)
                # Under the row's lock: who publishes this batch knows of the try, or the try gets the next batch.
                if is_recorded(ti):
                    open_attempt(cursor, ti)
                return None
        # Not under the row's lock: these questions go to Airflow's API.
        if not is_finished(ti, holder):
            return holder
        finished = holder


def _locked_holder(cursor: Cursor) -> Run | None:
    cursor.execute("select lease_dag_id, lease_run_id from audit.pipeline for update")
    row = cursor.fetchone()
    return Run(*row) if row and row[0] else None


def _is_published(cursor: Cursor) -> bool:
    cursor.execute(
        "select 1 from gold.publication, audit.pipeline where publication.batch >= pipeline.lease_batch"
    )
    return cursor.fetchone() is not None


def _take(cursor: Cursor, ti: Any) -> None:
    # First, so that nothing of an earlier batch is written after this one is drawn.
    wait_for_open_attempts(cursor, ti)
    end_all_leftovers()
    cursor.execute(
        """
        update audit.pipeline
        set
            lease_dag_id = %s,
            lease_run_id = %s,
            last_batch = last_batch + 1,
            lease_batch = last_batch + 1
        """,
        (ti.dag_id, ti.run_id),
    )
    _leave_queue(cursor, Run(ti.dag_id, ti.run_id))


@retry(
    retry=retry_if_result(bool),
    wait=wait_fixed(0.5),
    stop=stop_after_delay(LAST_SECONDS),
    retry_error_callback=lambda _: [],
)
def wait_for_open_attempts(cursor: Cursor, ti: Any) -> list[Any]:
    """Waits for tasks of a run that was stopped: one may be about to send a statement, which nobody could end yet."""
    cursor.execute(
        """
        select task_id
        from audit.data_pipeline_runs
        where
            status = 'running' and batch = (select last_batch from audit.pipeline)
            and (dag_id, run_id) <> (%s, %s) and task_id <> all(%s)
        """,
        (ti.dag_id, ti.run_id, [*READING]),
    )
    return cursor.fetchall()


def lock_pipeline(cursor: Cursor, ti: Any) -> Any:
    """The row of `audit.pipeline`, locked. Raises LeaseHeldError where the run of `ti` does not hold the lease."""
    cursor.execute("select * from audit.pipeline for update")
    row: Any = cursor.fetchone()
    if (row.lease_dag_id, row.lease_run_id) != (ti.dag_id, ti.run_id):
        raise LeaseHeldError("the run has lost the lease meanwhile: clear this task again")
    return row


def hold_lease(ti: Any) -> None:
    """Makes sure that the run of `ti` holds the lease: takes it again where it is free.

    Raises LeaseHeldError where another run holds it.
    """
    if holder := try_lease(ti):
        raise LeaseHeldError(
            f"run {holder.run_id} of {holder.dag_id} writes now: when it has ended, clear this task again"
        )


def release(ti: Any) -> None:
    """Gives the lease back; nothing where the run does not hold it."""
    with transaction() as cursor:
        cursor.execute(
            """
            update audit.pipeline
            set lease_dag_id = null, lease_run_id = null, lease_batch = null
            where lease_dag_id = %s and lease_run_id = %s
            """,
            (ti.dag_id, ti.run_id),
        )
