"""The lease: one writing run at a time over all our DAGs. Its row is `audit.pipeline`, its queue `lease_queue`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from medallion.database import Cursor, transaction
from medallion.engines import end_all_leftovers
from medallion.settings import settings

# A run that has not asked for so many polls asks no more: its DAG is paused, or it was deleted.
PATIENCE = 4


class LeaseHeldError(AirflowFailException):
    """Another run writes; the message names it."""


@dataclass(frozen=True)
class Holder:
    """The run that holds the lease, or waits for it."""

    dag_id: str
    run_id: str


def is_finished(ti: Any, holder: Holder) -> bool:
    """Whether the holder's run can write no more: it ended or was deleted, or its DAG is paused or gone with no task
    running.

    `ti` is the running task instance, through which Airflow 3 answers (tasks have no metadata database).
    """
    unfinished = ti.get_dr_count(holder.dag_id, run_ids=[holder.run_id], states=["queued", "running"])
    if not unfinished:
        return True
    dag = ti.get_dag(holder.dag_id)
    # Airflow does not tell that a DAG is gone, and leaves its runs as they are. Our DAGs share a folder.
    is_gone = not Path(ti.task.dag.fileloc).with_name(Path(dag.relative_fileloc).name).exists()
    if not (dag.is_paused or is_gone):
        return False
    states = ti.get_task_states(holder.dag_id, run_ids=[holder.run_id]).get(holder.run_id, {})
    return not {"running", "deferred", "queued"} & {str(state) for state in states.values()}


def ask_lease(ti: Any) -> Holder | None:
    """Takes the lease for the run of `ti` once it is free and no run that still waits has asked before.

    Returns None when the run holds it, else the run that comes first. Called again and again it keeps its place.
    """
    run = Holder(ti.dag_id, ti.run_id)
    with transaction() as cursor:
        holder = _locked_holder(cursor)
        first = _first_in_queue(cursor, run)
    if holder == run or first == run:
        return try_lease(ti)
    return holder or first


def _first_in_queue(cursor: Cursor, run: Holder) -> Holder:
    """Notes that the run waits; returns the one that has waited longest."""
    cursor.execute(
        """
        delete from audit.lease_queue where seen_at < now() - %(patience)s;

        insert into audit.lease_queue (dag_id, run_id) values (%(dag)s, %(run)s)
        on conflict (dag_id, run_id) do update set seen_at = excluded.seen_at;

        select dag_id, run_id from audit.lease_queue order by place limit 1;
        """,
        {"patience": PATIENCE * settings().lease_poll, "dag": run.dag_id, "run": run.run_id},
    )
    while cursor.nextset():
        pass
    [first] = cursor.fetchall()
    return Holder(*first)


def try_lease(ti: Any) -> Holder | None:
    """Takes the lease for the run of `ti` under a new batch, or keeps it where it has it; waits for no turn.

    Returns None when the run holds it, else the run that does.
    """
    while True:
        with transaction() as cursor:
            holder = _locked_holder(cursor)
            if holder == Holder(ti.dag_id, ti.run_id):
                return None
            if holder is None:
                _take(cursor, ti)
                return None
        # Not under the row's lock: these questions go to Airflow's API.
        if not is_finished(ti, holder):
            return holder
        with transaction() as cursor:
            if _locked_holder(cursor) == holder:
                _take(cursor, ti)
                return None


def _locked_holder(cursor: Cursor) -> Holder | None:
    cursor.execute("select lease_dag_id, lease_run_id from audit.pipeline for update")
    row = cursor.fetchone()
    return Holder(*row) if row and row[0] else None


def _take(cursor: Cursor, ti: Any) -> None:
    # First, so that nothing of an earlier batch is written after this one is drawn.
    end_all_leftovers()
    cursor.execute(
        """
        update audit.pipeline
        set
            lease_dag_id = %s,
            lease_run_id = %s,
            last_batch = last_batch + 1,
            lease_batch = last_batch + 1,
            lease_taken_at = now()
        """,
        (ti.dag_id, ti.run_id),
    )
    cursor.execute("delete from audit.lease_queue where (dag_id, run_id) = (%s, %s)", (ti.dag_id, ti.run_id))


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
            set lease_dag_id = null, lease_run_id = null, lease_batch = null, lease_taken_at = null
            where lease_dag_id = %s and lease_run_id = %s
            """,
            (ti.dag_id, ti.run_id),
        )
