"""The audit of a run before it publishes: the snapshots it left in the lake, and the accounts of its rows."""

import logging
from datetime import UTC, datetime
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from medallion.database import transaction
from medallion.gold import present_columns
from medallion.lake import load_lake, snapshot_columns, tables
from medallion.manifest import entity_jobs
from medallion.run_state import RunState, run_state
from medallion.settings import settings
from medallion.tries import ended_late, group_of, last_tries, read_batch, record_processed

log = logging.getLogger(__name__)

MODELS = ("silver", "gold")
# The groups whose tasks write what others are made of; one of their tasks only reads.
WRITING, ENTITY_TESTS = ("entities", *MODELS), "entities.test"
ACCOUNTS = "silver.entity_accounts"  # written by the Spark jobs where a run read anything


def audit_run(ti: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Records what the run left in the lake, read by pyiceberg, and stops it where too much was rejected.

    Writes `audit.snapshots`, `audit.entity_accounts` and the records that the tasks processed. What it returns is what
    is staged and published: `batch`, `snapshots` (table -> id), `columns` (gold table -> what its snapshot has); what
    they are compared to: the rows up to `base_batch` and the snapshots `base_snapshots`, of the publication by the
    batch `base_publication`; and `accounts` per entity.
    Raises AirflowFailException as `refuse_mixture` does; and, naming the entity, where the share of rejected rows is
    above the setting, unless allowed.
    """
    # With the catalog a second, which this task alone needs.
    from pyiceberg.table.snapshots import Operation, ancestors_of

    run = run_state(ti)
    catalog = load_lake()
    snapshots, written, columns = [], {}, {}
    for name, table in tables(catalog):
        if not (current := table.current_snapshot()):
            continue
        if name.startswith("gold."):
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
    # Of what the snapshots read above may hold.
    refuse_mixture(ti, run)
    accounts = []
    if catalog.table_exists(ACCOUNTS):
        unpublished = catalog.load_table(ACCOUNTS).scan(row_filter=f"batch > {run.published_batch}")
        accounts = unpublished.to_arrow().to_pylist()
    read = {row["entity"]: row["read"] for row in accounts if row["batch"] == run.batch}
    for job, entities in entity_jobs().items():
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
        present = {f"gold.{name}" for name in present_columns(cursor)}
    # The newest of each entity, whose job has read again what those of runs before read that did not publish.
    newest = {row["entity"]: row for row in sorted(accounts, key=lambda row: row["batch"])}
    check_rejected_share(list(newest.values()), params["allow_rejected"])
    return {
        "batch": run.batch,
        "snapshots": {name: snapshot_id for _, name, snapshot_id, *_ in snapshots},
        "columns": columns,
        "base_batch": run.published_batch,
        "base_publication": run.publication,
        # A gold table that BI has lost is published whole.
        "base_snapshots": {
            name: snapshot
            for name, snapshot in run.base_snapshots.items()
            if name in present or not name.startswith("gold.")
        },
        "accounts": {row["entity"]: row for row in accounts if row["batch"] == run.batch},
    }


def refuse_mixture(ti: Any, run: RunState) -> None:
    """Raises AirflowFailException where silver or gold may hold what not every model of the run of `ti` has read.

    Its gold tables would not agree with each other; and published, such silver would pass for what gold was made of,
    so that no run would make again what it changed. It comes from another run, which wrote since and has not
    published; from a task that was cleared alone while those that follow it ran; or from a model that was marked as
    done by hand, or left out by `up_to`.
    """
    with transaction() as cursor:
        tries = last_tries(cursor, ti)
        read = max(read_batch(tries, ti), run.published_batch)
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
        other: Any = cursor.fetchone()
    if other:
        raise AirflowFailException(
            f"run {other.run_id} has written silver or gold (batch {other.batch}) since this run's models read it, and"
            " has not published: clear what failed in that run, or the tasks of `entities` of this one with all"
            " downstream; the next run publishes all of it in any case"
        )
    before = ti.task.get_flat_relative_ids(upstream=True)
    making = {
        task: row
        for task, row in tries.items()
        if task in before and group_of(task) in WRITING and task != ENTITY_TESTS
    }
    # Without news the models were left out, too.
    if any(row.status == "success" for task, row in making.items() if group_of(task) not in MODELS):
        for task in ti.task.dag.task_ids:
            if group_of(task) in MODELS and (task not in making or making[task].status == "failed"):
                raise AirflowFailException(
                    f"{task} was not made of what the run read, though it is marked as done, or was left out by"
                    " `up_to`: clear it with all downstream"
                )
    made = {task: row for task, row in making.items() if row.is_done}
    for task in made:
        for each in ended_late(task, made, ti):
            if made[each].status != "skipped":
                raise AirflowFailException(
                    f"{each} has written after {task} had read it: clear {each} with all downstream"
                )


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
