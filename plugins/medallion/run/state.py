"""What a task needs to know of its run: batch, window, what was published last."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from medallion.engines.postgres import transaction
from medallion.run.lease import hold_lease
from medallion.run.window import RunKind, iso, minus_lookback
from medallion.settings import settings


@dataclass(frozen=True)
class RunState:
    """What the tasks of a run know of it; dbt gets it as JSON, by the variable MEDALLION_RUN.

    kind: of the run (RunKind). batch: what its rows carry; rows above published_batch are not published yet.
    extract_from, extract_to: UTC, half-open, the lookback included; null where nothing is extracted; for a
    reconciliation the range that no later window reads again. chunk_rows: about how many rows a statement takes in.
    snapshots: table -> snapshot id of the last publication, which the batch `publication` made (0: none yet).
    rebuild: what is asked for. compare_whole: none, gold or silver, the layer from which on nothing is incremental.
    tested_rows: changed or all.
    max_deleted_share, max_deleted_from: above this share of a table's rows, from so many up, a reconciliation stops.
    """

    kind: str | None
    batch: int
    published_batch: int
    publication: int
    extract_from: str | None
    extract_to: str | None
    chunk_rows: int
    snapshots: dict[str, int]
    rebuild: str
    compare_whole: str
    tested_rows: str
    max_deleted_share: float
    max_deleted_from: int

    @property
    def base_snapshots(self) -> dict[str, int]:
        """The snapshots that this run's difference is taken from; none for what must be compared whole."""
        return self.snapshots if self.rebuild == "none" else {}

    def json(self) -> str:
        """All of it in one line."""
        return json.dumps(asdict(self))


def run_state(ti: Any, allow_deletes: bool = False) -> RunState:
    """The state of the run of `ti`, which holds the lease from then on. A macro of the DAGs' templates.

    `allow_deletes`: a reconciliation may find any share of rows gone. Raises LeaseHeldError where another run writes.
    """
    hold_lease(ti)
    with transaction() as cursor:
        cursor.execute(
            """
            select
                pipeline.*,
                runs.kind,
                runs.extract_from,
                runs.window_end as extract_to,
                coalesce((select batch from gold.publication), 0) as publication
            from audit.pipeline
            left join audit.runs on runs.dag_id = %s and runs.run_id = %s
            """,
            (ti.dag_id, ti.run_id),
        )
        row: Any = cursor.fetchone()
    reconciles = row.kind == RunKind.RECONCILE
    extracted = covered(row.watermark) if reconciles else (row.extract_from, row.extract_to)
    extract_from, extract_to = (iso(moment) if moment else None for moment in extracted)
    return RunState(
        kind=row.kind,
        batch=row.lease_batch,
        published_batch=row.published_batch,
        publication=row.publication,
        extract_from=extract_from,
        extract_to=extract_to,
        chunk_rows=settings().chunk_rows,
        snapshots=row.published_snapshots,
        rebuild=row.rebuild,
        # No snapshot recorded: nothing was published yet.
        compare_whole=row.rebuild if row.published_snapshots else "silver",
        tested_rows="all" if reconciles else "changed",
        max_deleted_share=1 if allow_deletes else settings().max_deleted_share,
        max_deleted_from=settings().max_deleted_from,
    )


def covered(watermark: datetime | None) -> tuple[datetime | None, datetime | None]:
    """What windows have read and will not read again, UTC; nulls as long as nothing was covered."""
    if watermark is None:
        return None, None
    lookback = settings().lookback
    start = settings().history_start or datetime.min.replace(tzinfo=UTC)
    return minus_lookback(start, lookback), minus_lookback(watermark, lookback)


# What marks the statements of a dbt task; a template.
DBT_TAG = {"MEDALLION_TAG": "{{ tag(ti) }}"}
# The environment of a dbt task of a run, templates: rendered as a try starts, which also takes the lease.
# By environment and not by `--vars`: changed vars force dbt to parse the whole project again.
DBT_RUN_ENVIRONMENT = DBT_TAG | {
    "MEDALLION_RUN": "{{ run_state(ti, allow_deletes=params.get('allow_deletes', false)).json() }}",
}
