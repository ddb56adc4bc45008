"""The audit of a run before it publishes: the lake's snapshots, and the accounts (numbers of versions by outcome)."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from medallion.engines.iceberg import (
    iterate_tables,
    keep_metadata_small,
    load_lake,
    snapshot_columns,
    summary_number,
)
from medallion.engines.postgres import transaction
from medallion.names import (
    BUILD_ENTITIES,
    ENTITY_ACCOUNTS,
    GOLD,
    QUARANTINE,
    SILVER,
    is_gold,
    lake_table,
    staging_table,
)
from medallion.project.contracts import Staged, gold_tables
from medallion.project.manifest import build_tasks, entities
from medallion.publish.consistency import check_consistency
from medallion.publish.rejected import BrokenRule, broken_rules, new_values, rejected_shares
from medallion.publish.shapes import tables_in_shape
from medallion.run.attempts import run_of
from medallion.run.state import RunState, read_state
from medallion.settings import settings
from medallion.store.attempts import record_processed
from medallion.store.audits import (
    TableState,
    accept_accounts,
    read_recent_accounts,
    record_accounts,
    record_snapshots,
)
from medallion.store.findings import FindingKind, clear_findings, record_findings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

log = logging.getLogger(__name__)


class Audited(Staged):
    """XCom: what a run stages and publishes.

    batch: the batch of the run. base_publication: batch of the publication with which the staged tables are compared.
    """

    batch: int
    base_publication: int


def audit_run(ti: Any, params: dict[str, Any]) -> Audited:
    """Record the state of the lake after the run, and stop the run if too many rows were rejected.

    New tables get the properties of `keep_metadata_small`.

    Writes to the schema `audit`: the snapshots, the accounts, the number of records of each task, and findings (new
    values of coded columns, and tables with many rejected rows).

    Raises AirflowFailException if `check_consistency` does, or if `check_rejected_share` does, which the param
    `allow_rejected` turns into a warning.
    """
    run = read_state(ti)
    catalog = load_lake()
    tables = list(iterate_tables(catalog))
    for _, table in tables:
        keep_metadata_small(table)
    states = table_states(tables, run.snapshots)
    # Check after the snapshots are read, so that nothing in them escapes the check.
    check_consistency(ti, run)
    accounts = unpublished_accounts(catalog, run)
    broken = broken_rules(catalog, run, entities_with_rejects(accounts))
    judged = {row["entity"] for row in accounts} & {*entities()}
    shares = rejected_shares(
        catalog,
        judged,
        {state.table_name: state.total_records for state in states},
        settings().max_rejected_share,
        settings().max_rejected_from,
    )
    with transaction() as cursor:
        record_snapshots(cursor, run.batch, states)
        record_accounts(cursor, accounts)
        record_findings(cursor, [*new_values(broken), *shares])
        clear_findings(
            cursor, FindingKind.REJECTED_SHARE, but=[finding.subject for finding in shares], among=judged
        )
        earlier = read_recent_accounts(cursor, entities(), run.published_batch, settings().max_rejected_from)
        record_processed(cursor, run_of(ti), records_processed(run.batch, states, accounts))
        unchanged = {lake_table(GOLD, name) for name in tables_in_shape(cursor)}
    models = {lake_table(GOLD, table.name) for table in gold_tables()}
    # A gold table whose model left the project is not part of the publication.
    states = [state for state in states if state.table_name in models or not is_gold(state.table_name)]
    log_accounts(accounts)
    if accepted := check_rejected_share(accounts, earlier, broken, params["allow_rejected"]):
        with transaction() as cursor:
            accept_accounts(cursor, accepted)
    return {
        "batch": run.batch,
        "staging": f"{run.batch}_{ti.try_number}",
        "snapshots": {state.table_name: state.snapshot_id for state in states},
        "columns": {state.table_name: state.columns for state in states if is_gold(state.table_name)},
        "base_batch": run.published_batch,
        "base_publication": run.publication,
        # A gold table that PostgreSQL lacks, or whose shape there differs from its contract, is published whole.
        "base_snapshots": {
            name: snapshot
            for name, snapshot in run.base_snapshots.items()
            if name in unchanged or not is_gold(name)
        },
    }


def table_states(tables: Iterable[tuple[str, Table]], published: dict[str, int]) -> list[TableState]:
    """Return the current state of each of the lake's tables that was ever written to.

    `published`: table -> snapshot of the last publication.
    """
    # Imported here, because the import takes a second and only this task needs it.
    from pyiceberg.table.snapshots import Operation, ancestors_of

    states = []
    for name, table in tables:
        if not (current := table.current_snapshot()):
            continue
        added = 0
        for snapshot in ancestors_of(current, table.metadata):
            if snapshot.snapshot_id == published.get(name):
                break
            # Skip compactions: the records that they add existed before.
            if snapshot.summary and snapshot.summary.operation is not Operation.REPLACE:
                added += summary_number(snapshot, "added-records")
        states.append(
            TableState(
                table_name=name,
                snapshot_id=current.snapshot_id,
                committed_at=datetime.fromtimestamp(current.timestamp_ms / 1000, UTC),
                total_records=summary_number(current, "total-records"),
                added_records=added,
                columns=snapshot_columns(table, current.snapshot_id),
            )
        )
    return states


def unpublished_accounts(catalog: Catalog, run: RunState) -> list[dict[str, Any]]:
    """Return the rows of `silver.entity_accounts` above the published batch, ordered by batch."""
    if not catalog.table_exists(ENTITY_ACCOUNTS):
        return []
    scan = catalog.load_table(ENTITY_ACCOUNTS).scan(row_filter=f"batch > {run.published_batch}")
    # Version 0.2 and earlier did not count lost values; take 0 for their rows.
    rows = [
        row | {"unparsable_latest": row.get("unparsable_latest") or 0} for row in scan.to_arrow().to_pylist()
    ]
    return sorted(rows, key=lambda row: row["batch"])


def records_processed(batch: int, states: list[TableState], accounts: list[dict[str, Any]]) -> dict[str, int]:
    """Return the number of records of each task, by task id.

    For the Spark job this is the number of versions read, for all others the records written since the publication.
    """
    tasks = build_tasks()
    written = {tasks[state.table_name]: state.added_records for state in states if state.table_name in tasks}
    return written | {BUILD_ENTITIES: sum(row["read"] for row in accounts if row["batch"] == batch)}


def log_accounts(accounts: list[dict[str, Any]]) -> None:
    """Log a line per entity and batch: the versions read, by outcome."""
    for row in accounts:
        log.info(
            "%(entity)s (batch %(batch)d): read %(read)d = current %(current)d + deleted %(deleted)d"
            " + superseded %(superseded)d + quarantined %(quarantined)d",
            row,
        )


def entities_with_rejects(accounts: list[dict[str, Any]]) -> set[str]:
    """Return the entities of the project that have rejected versions."""
    # Ignore tables that were removed from the project.
    return {row["entity"] for row in accounts if row["quarantined"]} & {*entities()}


def count_recent(
    newest: Mapping[str, Any], earlier: Iterable[Mapping[str, Any]], name: str, rows: int
) -> tuple[int, float]:
    """Return the number of keys (`latest`) and the count `name` of the `newest` account and of `earlier` ones.

    Earlier accounts are added until there are `rows` keys, because a few keys say little about the source. If only a
    part of an account's keys is needed, the same part of its count is added. An account that a person has accepted
    adds its keys and no count.
    """
    keys, counted = newest["latest"], float(newest[name])
    for account in earlier:
        if keys >= rows:
            break
        taken = min(account["latest"], rows - keys)
        keys += taken
        if not account["accepted"]:
            counted += account[name] * taken / account["latest"]
    return keys, counted


def check_rejected_share(
    accounts: list[dict[str, Any]],
    earlier: Mapping[str, Iterable[Mapping[str, Any]]],
    broken: Mapping[str, list[BrokenRule]],
    allowed: bool,
) -> list[dict[str, Any]]:
    """Raise AirflowFailException if too large a share of an entity's rows was rejected, or lost a value.

    The limit of each share is MEDALLION_MAX_REJECTED_SHARE. A row has lost a value if the value of an optional column
    can't be converted: the row is accepted and flagged, and the column is null.

    Only the newest account of an entity is judged, because it also covers the rows of runs that did not publish. If it
    has fewer rows than MEDALLION_MAX_REJECTED_FROM, earlier accounts are added. If all together still have fewer, the
    entity passes. An entity whose newest account counts no such rows passes, too.

    accounts: ordered by batch. earlier: entity -> published accounts, newest first. broken: entity -> the rules that
    its rows broke, for the message. allowed: log a warning instead of raising.
    Returns the accounts that stop the run, or would stop it without `allowed`.
    """
    limit, rows_from = settings().max_rejected_share, settings().max_rejected_from
    # Ignore tables that were removed from the project.
    current = entities()
    silver = f"{settings().lake_catalog}.{SILVER}"
    problems, accepted = [], []
    for row in {row["entity"]: row for row in accounts if row["entity"] in current}.values():
        table = staging_table(row["entity"])
        for name, problem, advice in (
            (
                "rejected_latest",
                "broke a rule",
                f"Rows by rule: {', '.join(map(str, broken.get(row['entity'], []))) or 'unknown'}."
                f" {settings().lake_catalog}.{QUARANTINE} has them.",
            ),
            (
                "unparsable_latest",
                "lost a value that its column's data type does not hold",
                f"{silver}.{table} has null there, and the columns in _flags: declare other data types, or convert the"
                " values in the select.",
            ),
        ):
            count = row[name]
            keys, recent = count_recent(row, earlier.get(row["entity"], []), name, rows_from)
            if count and keys >= rows_from and recent > limit * keys:
                among = "" if keys == row["latest"] else f", {recent:.0f} of the last {keys}"
                problems.append(
                    f"{row['entity']}: {count} of {row['latest']} rows {problem}{among}, more than {limit:.0%}"
                    f" (MEDALLION_MAX_REJECTED_SHARE). {advice}"
                )
                accepted.append(row)
            elif count:
                log.warning("%s: %d of %d rows %s. %s", row["entity"], count, row["latest"], problem, advice)
    if problems and not allowed:
        raise AirflowFailException(
            "\n".join(problems) + " Fix that, or trigger a run with allow_rejected (make trigger"
            " ALLOW_REJECTED=1) to publish without these rows once."
        )
    for problem in problems:
        log.warning("%s Accepted because of allow_rejected.", problem)
    return accepted
