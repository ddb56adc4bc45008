"""The audit: one row per try of a task, written by a listener; snapshots and accounts, before a publish."""

import logging
from datetime import UTC, datetime
from typing import Any

from airflow.listeners import hookimpl
from airflow.sdk.exceptions import AirflowFailException

from medallion.database import transaction
from medallion.run_state import run_state
from medallion.settings import settings

log = logging.getLogger(__name__)

TAG = "medallion"


class TryListener:
    """Writes each try of a task of our DAGs into `audit.data_pipeline_runs`, as it starts and as it ends."""

    @hookimpl
    def on_task_instance_running(self, previous_state: Any, task_instance: Any) -> None:
        if not _is_ours(task_instance):
            return
        with transaction() as cursor:
            cursor.execute(
                """
                update audit.data_pipeline_runs set status = 'killed', end_time = now()
                where dag_id = %(dag)s and run_id = %(run)s and task_id = %(task)s and status = 'running'
                """,
                _identity(task_instance),
            )
            cursor.execute(
                """
                insert into audit.data_pipeline_runs
                    (dag_id, run_id, task_id, try_number, model_name, start_time, status, batch)
                select
                    %(dag)s, %(run)s, %(task)s, %(try)s, %(task)s, now(), 'running',
                    case when lease_dag_id = %(dag)s and lease_run_id = %(run)s then lease_batch end
                from audit.pipeline
                on conflict (dag_id, run_id, task_id, try_number)
                do update set status = excluded.status, batch = excluded.batch, end_time = null
                """,
                _identity(task_instance),
            )

    @hookimpl
    def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:
        _close(task_instance, "success")

    @hookimpl
    def on_task_instance_skipped(self, previous_state: Any, task_instance: Any) -> None:
        _close(task_instance, "skipped")

    @hookimpl
    def on_task_instance_failed(self, previous_state: Any, task_instance: Any, error: Any) -> None:
        _close(task_instance, "failed", error)


def _is_ours(ti: Any) -> bool:
    # The first task creates the audit tables: its own first try has nowhere to be written.
    return TAG in ti.task.dag.tags and ti.task_id != "begin"


def _identity(ti: Any) -> dict[str, Any]:
    return {"dag": ti.dag_id, "run": ti.run_id, "task": ti.task_id, "try": ti.try_number}


def _close(ti: Any, status: str, error: Any = None) -> None:
    if not _is_ours(ti):
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


def audit_run(ti: Any, allow_rejected: bool) -> dict[str, dict[str, int]]:
    """Records what the run left in the lake, read by pyiceberg, and stops it where too much was rejected.

    Writes `audit.snapshots` and `audit.entity_accounts`; returns the accounts of this run per entity. Raises
    AirflowFailException naming the entity where the share of rejected rows is above the setting, unless allowed.
    """
    from pyiceberg.catalog import load_catalog  # a second of imports that only this task needs

    run = run_state(ti)
    catalog = load_catalog("lake")
    snapshots = []
    for layer in ("bronze", "silver", "gold"):
        for identifier in catalog.list_tables(layer):
            if snapshot := catalog.load_table(identifier).current_snapshot():
                summary = snapshot.summary
                snapshots.append(
                    (
                        run.batch,
                        ".".join(identifier),
                        snapshot.snapshot_id,
                        datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC),
                        int((summary and summary["total-records"]) or 0),
                    )
                )
    accounts = (
        catalog.load_table("silver.entity_accounts")
        .scan(row_filter=f"batch > {run.published_batch}")
        .to_arrow()
        .to_pylist()
    )
    with transaction() as cursor:
        cursor.executemany(
            """
            insert into audit.snapshots values (%s, %s, %s, %s, %s)
            on conflict (batch, table_name) do update
            set snapshot_id = excluded.snapshot_id, committed_at = excluded.committed_at, total_records = excluded.total_records
            """,
            snapshots,
        )
        cursor.executemany(
            """
            insert into audit.entity_accounts values (
                %(batch)s, %(entity)s, %(read)s, %(current)s, %(deleted)s,
                %(superseded)s, %(quarantined)s, %(latest)s, %(rejected_latest)s
            )
            on conflict (batch, entity) do update set
                read = excluded.read, current = excluded.current, deleted = excluded.deleted,
                superseded = excluded.superseded, quarantined = excluded.quarantined,
                latest = excluded.latest, rejected_latest = excluded.rejected_latest
            """,
            accounts,
        )
    check_rejected_share(accounts, allow_rejected)
    return {row["entity"]: row for row in accounts if row["batch"] == run.batch}


def check_rejected_share(accounts: list[dict[str, Any]], allowed: bool) -> None:
    """Raises AirflowFailException where an entity's share of rejected rows is above the setting."""
    limit, rows_from = settings().max_rejected_share, settings().max_rejected_from
    for row in accounts:
        if row["latest"] < rows_from or row["rejected_latest"] <= limit * row["latest"]:
            continue
        message = (
            f"{row['entity']}: {row['rejected_latest']} of {row['latest']} rows broke a rule, more than {limit:.0%}"
            " (MEDALLION_MAX_REJECTED_SHARE). lake.silver.quarantine has them with their rules."
        )
        if not allowed:
            raise AirflowFailException(
                f"{message} Mend the source, or trigger a run with allow_rejected to let them pass once."
            )
        log.warning("%s Let pass by allow_rejected.", message)
