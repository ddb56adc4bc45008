"""`audit.data_pipeline_runs`, a row per attempt of a task, and `audit.test_results`, a row per test."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from medallion.engines.postgres import Cursor
from medallion.names import Group, Place, Role, model_of, place_of
from medallion.store.pipeline import Run

LONGEST_ERROR = 2000


@dataclass(frozen=True)
class AttemptId:
    """Identity of an attempt."""

    dag_id: str
    run_id: str
    task_id: str
    try_number: int


@dataclass(frozen=True)
class Attempt:
    """An attempt of a task. Times are UTC; end_time is None while it runs, or if its process was killed.

    batch: the run's batch when the attempt started; None if the run did not hold the lease.
    """

    task_id: str
    place: Place
    batch: int | None
    start_time: datetime
    end_time: datetime | None
    status: str

    @property
    def is_done(self) -> bool:
        """Return whether the attempt succeeded or had nothing to do."""
        return self.status in ("success", "skipped")


@dataclass(frozen=True)
class TestResult:
    """The status of a dbt test (pass, warn, fail, error) and the number of rows that fail it."""

    test: str
    status: str
    failures: int | None


def _parameters(attempt: AttemptId) -> dict[str, Any]:
    place = place_of(attempt.task_id)
    return {
        "dag": attempt.dag_id,
        "run": attempt.run_id,
        "task": attempt.task_id,
        "try": attempt.try_number,
        "model": model_of(attempt.task_id),
        "layer": place.layer,
        "role": place.role,
    }


def open_attempt(cursor: Cursor, attempt: AttemptId) -> None:
    """Open the row of an attempt that starts, and close those of earlier attempts, whose processes are dead."""
    parameters = _parameters(attempt)
    cursor.execute(
        """
        update audit.data_pipeline_runs set status = 'killed', end_time = now()
        where
            dag_id = %(dag)s and run_id = %(run)s and task_id = %(task)s and try_number < %(try)s
            and status = 'running'
        """,
        parameters,
    )
    cursor.execute(
        """
        insert into audit.data_pipeline_runs as attempts
            (dag_id, run_id, task_id, try_number, model_name, layer, role, start_time, status, batch)
        select
            %(dag)s, %(run)s, %(task)s, %(try)s, %(model)s, %(layer)s, %(role)s, now(), 'running',
            case when lease_dag_id = %(dag)s and lease_run_id = %(run)s then lease_batch end
        from audit.pipeline
        on conflict (dag_id, run_id, task_id, try_number) do update
        set
            status = excluded.status,
            batch = excluded.batch,
            -- A row that has ended is that of a deleted run with the same id.
            start_time = case when attempts.end_time is null then attempts.start_time else excluded.start_time end,
            end_time = null
        """,
        parameters,
    )


def close_attempt_row(cursor: Cursor, attempt: AttemptId, status: str, error: str | None = None) -> None:
    """Record the end of an attempt. The character 0 is removed from `error`, because PostgreSQL can't store it."""
    cursor.execute(
        """
        update audit.data_pipeline_runs
        set status = %(status)s, end_time = now(), error = %(error)s
        where dag_id = %(dag)s and run_id = %(run)s and task_id = %(task)s and try_number = %(try)s
        """,
        _parameters(attempt) | {"status": status, "error": error and error.replace("\0", "")[:LONGEST_ERROR]},
    )


def record_skipped(cursor: Cursor, run: Run, tasks: Iterable[str]) -> None:
    """Record tasks of a run that have nothing to do as skipped: attempt 0, with the current time."""
    cursor.executemany(
        """
        insert into audit.data_pipeline_runs
            (dag_id, run_id, task_id, try_number, model_name, layer, role, start_time, end_time, status, batch)
        select
            %(dag)s, %(run)s, %(task)s, %(try)s, %(model)s, %(layer)s, %(role)s, now(), now(), 'skipped', lease_batch
        from audit.pipeline
        on conflict (dag_id, run_id, task_id, try_number) do update
        set start_time = excluded.start_time, end_time = excluded.end_time, batch = excluded.batch
        """,
        [_parameters(AttemptId(run.dag_id, run.run_id, task, 0)) for task in tasks],
    )


def record_processed(cursor: Cursor, run: Run, records: Mapping[str, int]) -> None:
    """Set the number of processed records of each task's last attempt; `records`: task id -> number."""
    cursor.executemany(
        """
        update audit.data_pipeline_runs as attempts
        set records_processed = %(records)s
        where
            dag_id = %(dag)s and run_id = %(run)s and task_id = %(task)s
            and start_time = (
                select max(start_time) from audit.data_pipeline_runs as later
                where
                    later.dag_id = attempts.dag_id and later.run_id = attempts.run_id
                    and later.task_id = attempts.task_id
            )
        """,
        [
            {"dag": run.dag_id, "run": run.run_id, "task": task, "records": count}
            for task, count in records.items()
        ],
    )


def record_test_results(cursor: Cursor, attempt: AttemptId, results: Iterable[TestResult]) -> None:
    """Record the results of an attempt's tests."""
    cursor.executemany(
        """
        insert into audit.test_results
        values (%(dag)s, %(run)s, %(task)s, %(try)s, %(test)s, %(status)s, %(failures)s)
        on conflict (dag_id, run_id, task_id, try_number, test_name) do update set
            status = excluded.status, failures = excluded.failures
        """,
        [_parameters(attempt) | asdict(result) for result in results],
    )


def last_attempts(cursor: Cursor, run: Run) -> dict[str, Attempt]:
    """Return the last attempt of each task of a run, by task id."""
    cursor.execute(
        """
        select distinct on (task_id) task_id, layer, role, batch, start_time, end_time, status
        from audit.data_pipeline_runs
        where dag_id = %s and run_id = %s
        order by task_id, start_time desc
        """,
        (run.dag_id, run.run_id),
    )
    return {
        row.task_id: Attempt(
            task_id=row.task_id,
            place=Place(Group(row.layer) if row.layer else None, Role(row.role)),
            batch=row.batch,
            start_time=row.start_time,
            end_time=row.end_time,
            status=row.status,
        )
        for row in cursor.fetchall()
    }


def open_tasks_of_last_batch(cursor: Cursor, other_than: Run) -> list[str]:
    """Return the tasks that still run under the last batch and may write; those of the run itself are left out."""
    cursor.execute(
        """
        select task_id
        from audit.data_pipeline_runs
        where
            status = 'running' and batch = (select last_batch from audit.pipeline)
            and (dag_id, run_id) <> (%s, %s) and role <> %s
        """,
        (other_than.dag_id, other_than.run_id, Role.WATCH),
    )
    return [row.task_id for row in cursor.fetchall()]


def tasks_attempted_above(cursor: Cursor, batch: int) -> set[str]:
    """Return the tasks of any run that were attempted under a batch above `batch`; skipped ones are left out."""
    cursor.execute(
        "select distinct task_id from audit.data_pipeline_runs where batch > %s and status <> 'skipped'",
        (batch,),
    )
    return {row.task_id for row in cursor.fetchall()}


def tables_not_reconciled(cursor: Cursor, dag_id: str, limit: timedelta) -> list[str]:
    """Return the bronze tables that no run of the DAG has built successfully within `limit`.

    A table whose first attempt is younger than `limit` is left out.
    """
    cursor.execute(
        """
        select model_name
        from audit.data_pipeline_runs
        where layer = %s
        group by model_name
        having
            min(start_time) < now() - %s
            and coalesce(max(end_time) filter (where dag_id = %s and status = 'success') < now() - %s, true)
        order by model_name
        """,
        (Group.BRONZE, limit, dag_id, limit),
    )
    return [row.model_name for row in cursor.fetchall()]


def failed_captures(cursor: Cursor, above: int, other_than: Run) -> list[tuple[str, str]]:
    """Return (task id, run id) of the bronze tasks that another run left failed or open.

    The last attempt of a task decides, over all runs with a batch above `above`. Tasks whose last attempt is one of
    the run `other_than` are left out.
    """
    cursor.execute(
        """
        with last as (
            select distinct on (task_id) task_id, dag_id, run_id, status
            from audit.data_pipeline_runs
            where batch > %s and layer = %s and status <> 'skipped'
            order by task_id, start_time desc
        )

        select task_id, run_id from last
        where status <> 'success' and (dag_id, run_id) <> (%s, %s)
        order by task_id
        """,
        (above, Group.BRONZE, other_than.dag_id, other_than.run_id),
    )
    return [(row.task_id, row.run_id) for row in cursor.fetchall()]


def last_builder_above_bronze(cursor: Cursor, above: int, other_than: Run) -> tuple[str, int] | None:
    """Return (run id, batch) of the last run that wrote silver or gold under a batch above `above`.

    The run `other_than` is left out.
    """
    cursor.execute(
        """
        select run_id, batch
        from audit.data_pipeline_runs
        where
            (dag_id, run_id) <> (%s, %s) and batch > %s and status <> 'skipped'
            and role = %s and layer <> %s
        order by batch desc limit 1
        """,
        (other_than.dag_id, other_than.run_id, above, Role.BUILD, Group.BRONZE),
    )
    row: Any = cursor.fetchone()
    return (row.run_id, row.batch) if row else None
