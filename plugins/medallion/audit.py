"""The audit: one row per try of a task, written by a listener; snapshots and accounts, before a publish."""

import logging
from datetime import UTC, datetime
from typing import Any

from airflow.listeners import hookimpl
from airflow.sdk.exceptions import AirflowFailException

from medallion.database import Cursor, transaction
from medallion.lake import snapshot_columns
from medallion.run_state import run_state
from medallion.settings import settings

log = logging.getLogger(__name__)

TAG = "medallion"
LAYERS = ("bronze", "silver", "gold")
ACCOUNTS = "silver.entity_accounts"  # written by the Spark jobs where a run read anything


class TryListener:
    """Writes each try of a task of our DAGs into `audit.data_pipeline_runs`, as it starts and as it ends."""

    @hookimpl
    def on_task_instance_running(self, previous_state: Any, task_instance: Any) -> None:
        """Open the try's row; earlier tries that are still open died."""
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
                    %(dag)s, %(run)s, %(task)s, %(try)s, %(model)s, now(), 'running',
                    case when lease_dag_id = %(dag)s and lease_run_id = %(run)s then lease_batch end
                from audit.pipeline
                on conflict (dag_id, run_id, task_id, try_number)
                do update set status = excluded.status, batch = excluded.batch, end_time = null
                """,
                _identity(task_instance),
            )

    @hookimpl
    def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:
        """Close the try's row."""
        _close(task_instance, "success")

    @hookimpl
    def on_task_instance_skipped(self, previous_state: Any, task_instance: Any) -> None:
        """Close the try's row."""
        _close(task_instance, "skipped")

    @hookimpl
    def on_task_instance_failed(self, previous_state: Any, task_instance: Any, error: Any) -> None:
        """Close the try's row with the error."""
        _close(task_instance, "failed", error)


def _is_ours(ti: Any) -> bool:
    # The first task creates the audit tables: its own first try has nowhere to be written.
    return TAG in ti.task.dag.tags and ti.task_id != "begin"


def _identity(ti: Any) -> dict[str, Any]:
    return {
        "dag": ti.dag_id,
        "run": ti.run_id,
        "task": ti.task_id,
        "try": ti.try_number,
        "model": ti.task_id.rpartition(".")[2],
    }


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


def record_processed(cursor: Cursor, ti: Any, records: dict[str, int]) -> None:
    """Completes the last tries of tasks (task id -> records) of the run of `ti`."""
    cursor.executemany(
        """
        update audit.data_pipeline_runs as tries
        set records_processed = %(records)s
        where
            dag_id = %(dag)s and run_id = %(run)s and task_id = %(task)s
            and try_number = (
                select max(try_number) from audit.data_pipeline_runs as later
                where later.dag_id = tries.dag_id and later.run_id = tries.run_id and later.task_id = tries.task_id
            )
        """,
        [_identity(ti) | {"task": task, "records": count} for task, count in records.items()],
    )


def audit_run(ti: Any, params: dict[str, Any], entity_jobs: dict[str, list[str]]) -> dict[str, Any]:
    """Records what the run left in the lake, read by pyiceberg, and stops it where too much was rejected.

    `entity_jobs`: Spark task -> its entities. Writes `audit.snapshots`, `audit.entity_accounts` and the records that
    the tasks processed. What it returns is what is staged and published: `batch`, `snapshots` (table -> id), `columns`
    (gold table -> what its snapshot has); what they are compared to: the rows up to `base_batch` and the snapshots
    `base_snapshots`, of the publication by the batch `base_publication`; and `accounts` per entity.
    Raises AirflowFailException naming the entity where the share of rejected rows is above the setting, unless allowed.
    """
    # A second of imports that this task alone needs.
    from pyiceberg.catalog import load_catalog
    from pyiceberg.table.snapshots import Operation, ancestors_of

    run = run_state(ti)
    catalog = load_catalog("lake")
    snapshots, written, columns = [], {}, {}
    for layer in LAYERS:
        for identifier in catalog.list_tables(layer):
            name = ".".join(identifier)
            table = catalog.load_table(identifier)
            if not (current := table.current_snapshot()):
                continue
            if layer == "gold":
                columns[name] = snapshot_columns(table, current.snapshot_id)
            committed_at = datetime.fromtimestamp(current.timestamp_ms / 1000, UTC)
            total = _figure(current, "total-records")
            snapshots.append((run.batch, name, current.snapshot_id, committed_at, total))
            written[name] = 0
            for snapshot in ancestors_of(current, table.metadata):
                if snapshot.snapshot_id == run.snapshots.get(name):
                    break
                # A compaction adds the records that were there.
                if snapshot.summary and snapshot.summary.operation is not Operation.REPLACE:
                    written[name] += _figure(snapshot, "added-records")
    accounts = []
    if catalog.table_exists(ACCOUNTS):
        unpublished = catalog.load_table(ACCOUNTS).scan(row_filter=f"batch > {run.published_batch}")
        accounts = unpublished.to_arrow().to_pylist()
    read = {row["entity"]: row["read"] for row in accounts if row["batch"] == run.batch}
    for job, entities in entity_jobs.items():
        written[f"entities.{job}"] = sum(read.get(entity, 0) for entity in entities)
    with transaction() as cursor:
        cursor.executemany(
            """
            insert into audit.snapshots values (%s, %s, %s, %s, %s)
            on conflict (batch, table_name) do update set
                snapshot_id = excluded.snapshot_id, committed_at = excluded.committed_at,
                total_records = excluded.total_records
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
        record_processed(cursor, ti, written)
    # The newest of each entity, whose job has read again what those of runs before read that did not publish.
    newest = {row["entity"]: row for row in sorted(accounts, key=lambda row: row["batch"])}
    check_rejected_share(list(newest.values()), params["allow_rejected"])
    return {
        "batch": run.batch,
        "snapshots": {name: snapshot_id for _, name, snapshot_id, *_ in snapshots},
        "columns": columns,
        "base_batch": run.published_batch,
        "base_publication": run.publication,
        "base_snapshots": run.base_snapshots,
        "accounts": {row["entity"]: row for row in accounts if row["batch"] == run.batch},
    }


def _figure(snapshot: Any, name: str) -> int:
    return int((snapshot.summary and snapshot.summary[name]) or 0)


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
