"""The audit of a run before it publishes: the snapshots it left in the lake, and the accounts of its rows."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from medallion.engines.iceberg import load_lake, snapshot_columns, tables
from medallion.engines.postgres import Cursor, transaction
from medallion.project.contracts import Staged, published_columns
from medallion.project.manifest import entities
from medallion.publish.consistency import check_consistency
from medallion.run.attempts import ENTITIES, record_processed
from medallion.run.state import RunState, run_state
from medallion.settings import settings

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

log = logging.getLogger(__name__)

ACCOUNTS = "silver.entity_accounts"  # written by the Spark jobs where a run read anything


class Audited(Staged):
    """What a run stages and publishes: the difference to the publication by the batch `base_publication`.

    batch: the run's. base_batch: the rows above it are in the difference.
    """

    batch: int
    base_batch: int
    base_publication: int


@dataclass(frozen=True)
class TableState:
    """A table's current snapshot: when it was committed (UTC), its records, and those added since the publication."""

    table_name: str
    snapshot_id: int
    committed_at: datetime
    total_records: int
    added_records: int
    columns: list[str]


def audit_run(ti: Any, params: dict[str, Any]) -> Audited:
    """Records what the run left in the lake, read by pyiceberg, and stops it where too much was rejected.

    Writes `audit.snapshots`, `audit.entity_accounts` and the records that the tasks processed.
    Raises AirflowFailException as `check_consistency` does; and, naming the entity, where the share of rejected rows is
    above the setting, unless allowed.
    """
    run = run_state(ti)
    catalog = load_lake()
    states = table_states(catalog, run.snapshots)
    # Of what the snapshots read above may hold.
    check_consistency(ti, run)
    accounts = unpublished_accounts(catalog, run)
    with transaction() as cursor:
        record_audit(cursor, run.batch, states, accounts)
        record_processed(cursor, ti, records_processed(run.batch, states, accounts))
        present = {f"gold.{name}" for name in published_columns(cursor)}
    check_rejected_share(accounts, params["allow_rejected"])
    return {
        "batch": run.batch,
        "staging": f"{run.batch}_{ti.try_number}",
        "snapshots": {state.table_name: state.snapshot_id for state in states},
        "columns": {state.table_name: state.columns for state in states if is_gold(state.table_name)},
        "base_batch": run.published_batch,
        "base_publication": run.publication,
        # A gold table that BI has lost is published whole.
        "base_snapshots": {
            name: snapshot
            for name, snapshot in run.base_snapshots.items()
            if name in present or not is_gold(name)
        },
    }


def is_gold(table: str) -> bool:
    """Whether a table of the lake, `schema.name`, is published."""
    return table.startswith("gold.")


def table_states(catalog: Catalog, published: dict[str, int]) -> list[TableState]:
    """What is in each table of the lake that was ever written to; `published`: table -> snapshot of the publication."""
    # A second of imports, which this task alone needs.
    from pyiceberg.table.snapshots import Operation, ancestors_of

    states = []
    for name, table in tables(catalog):
        if not (current := table.current_snapshot()):
            continue
        added = 0
        for snapshot in ancestors_of(current, table.metadata):
            if snapshot.snapshot_id == published.get(name):
                break
            # A compaction adds the records that were there.
            if snapshot.summary and snapshot.summary.operation is not Operation.REPLACE:
                added += _figure(snapshot, "added-records")
        states.append(
            TableState(
                table_name=name,
                snapshot_id=current.snapshot_id,
                committed_at=datetime.fromtimestamp(current.timestamp_ms / 1000, UTC),
                total_records=_figure(current, "total-records"),
                added_records=added,
                columns=snapshot_columns(table, current.snapshot_id),
            )
        )
    return states


def _figure(snapshot: Any, name: str) -> int:
    return int((snapshot.summary and snapshot.summary[name]) or 0)


def unpublished_accounts(catalog: Catalog, run: RunState) -> list[dict[str, Any]]:
    """The rows of `silver.entity_accounts` above the published batch, in the order of their batches."""
    if not catalog.table_exists(ACCOUNTS):
        return []
    scan = catalog.load_table(ACCOUNTS).scan(row_filter=f"batch > {run.published_batch}")
    return sorted(scan.to_arrow().to_pylist(), key=lambda row: row["batch"])


def records_processed(batch: int, states: list[TableState], accounts: list[dict[str, Any]]) -> dict[str, int]:
    """Task id -> what it wrote since the publication; for the Spark job what it read under `batch`."""
    read = sum(row["read"] for row in accounts if row["batch"] == batch)
    return {state.table_name: state.added_records for state in states} | {ENTITIES: read}


def record_audit(
    cursor: Cursor, batch: int, states: list[TableState], accounts: list[dict[str, Any]]
) -> None:
    """Writes `audit.snapshots` and `audit.entity_accounts`, and logs the accounts; may be repeated."""
    cursor.executemany(
        """
        insert into audit.snapshots
        values (%(batch)s, %(table_name)s, %(snapshot_id)s, %(committed_at)s, %(total_records)s)
        on conflict (batch, table_name) do update set
            snapshot_id = excluded.snapshot_id, committed_at = excluded.committed_at,
            total_records = excluded.total_records
        """,
        [asdict(state) | {"batch": batch} for state in states],
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
    for row in accounts:
        log.info(
            "%(entity)s (batch %(batch)d): read %(read)d = current %(current)d + deleted %(deleted)d"
            " + superseded %(superseded)d + quarantined %(quarantined)d",
            row,
        )


def check_rejected_share(accounts: list[dict[str, Any]], allowed: bool) -> None:
    """Raises AirflowFailException where an entity's share of rejected rows is above the setting.

    `accounts`: in the order of their batches. The newest of an entity counts: its job has read again what those of
    runs before read that did not publish.
    """
    limit, rows_from = settings().max_rejected_share, settings().max_rejected_from
    # Not of a table that was taken out since.
    made = entities()
    for row in {row["entity"]: row for row in accounts if row["entity"] in made}.values():
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
