"""Find states of the pipeline that nobody would notice while all runs succeed. The end of each run looks for them."""

from typing import Any

from airflow.sdk.exceptions import AirflowRuntimeError

from medallion.engines.postgres import Cursor, transaction
from medallion.names import GOLD, HOURLY_DAG, RECONCILE_DAG, ROLLBACK_DAG, SCHEDULED_DAGS
from medallion.project.manifest import source_tables
from medallion.settings import settings
from medallion.store.attempts import tables_not_reconciled
from medallion.store.findings import Finding, FindingKind, clear_findings, record_findings
from medallion.store.pipeline import age_of_gold_is_within, read_gold_end, read_pipeline


def record_states(ti: Any) -> None:
    """Record the states of the pipeline that people are notified of, and clear those that are over."""
    paused = paused_dags(ti)
    with transaction() as cursor:
        findings = [*publishing_states(cursor), *reconciliation_states(cursor), *paused]
        record_findings(cursor, findings)
        for kind in (
            FindingKind.PUBLISHING_HELD,
            FindingKind.STALE_GOLD,
            FindingKind.NOT_RECONCILED,
            FindingKind.PAUSED_DAG,
        ):
            clear_findings(
                cursor, kind, but=[finding.subject for finding in findings if finding.kind is kind]
            )


def publishing_states(cursor: Cursor) -> list[Finding]:
    """Return a finding if publishing is held, and one if gold is too old."""
    findings, held_by, end = [], read_pipeline(cursor).held_by, read_gold_end(cursor)
    if held_by:
        findings.append(
            Finding(
                FindingKind.PUBLISHING_HELD,
                GOLD,
                f"Publishing is held since gold was rolled back by {held_by}, and BI sees that earlier gold. Resume it"
                f" by a run of {ROLLBACK_DAG} without `to_batch` (make resume).",
            )
        )
    if end and not age_of_gold_is_within(cursor, settings().max_gold_age):
        cause = "publishing is held" if held_by else f"see the last runs of {HOURLY_DAG}"
        findings.append(
            Finding(
                FindingKind.STALE_GOLD,
                GOLD,
                f"Gold ends at {end:%Y-%m-%d %H:%M} UTC, longer ago than MEDALLION_MAX_GOLD_AGE: {cause}.",
            )
        )
    return findings


def reconciliation_states(cursor: Cursor) -> list[Finding]:
    """Return a finding for each table that no reconciliation has compared for too long."""
    limit = settings().max_reconciliation_age
    declared = {table.model for table in source_tables()}
    return [
        Finding(
            FindingKind.NOT_RECONCILED,
            table,
            f"No run of {RECONCILE_DAG} has compared {table} with its source within {limit}: rows that were deleted"
            " there may still be in gold. Look at the DAG's last runs, or start one (make reconcile).",
        )
        for table in tables_not_reconciled(cursor, RECONCILE_DAG, limit)
        if table in declared
    ]


def paused_dags(ti: Any) -> list[Finding]:
    """Return a finding for each scheduled DAG that is paused. A DAG that Airflow does not know is left out."""
    findings = []
    for dag_id in SCHEDULED_DAGS:
        try:
            is_paused = ti.get_dag(dag_id).is_paused
        except AirflowRuntimeError:
            continue
        if is_paused:
            findings.append(
                Finding(
                    FindingKind.PAUSED_DAG,
                    dag_id,
                    f"The DAG {dag_id} is paused: it does not run until somebody unpauses it.",
                )
            )
    return findings
