"""What a task needs to know of its run: batch, window, what was published last."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from medallion.database import transaction
from medallion.lease import hold_lease
from medallion.settings import settings
from medallion.window import iso


@dataclass(frozen=True)
class RunState:
    """What the engines are told, as JSON, by the variable MEDALLION_RUN.

    batch: what the run's rows carry; rows above published_batch are not published yet. extract_from, extract_to:
    UTC, half-open, the lookback included; null where nothing is extracted. snapshots: table -> snapshot id of the
    last publication, which the batch `publication` made (0: none yet). rebuild: what is asked for. compare_whole:
    none, gold or silver, the layer from which on nothing is incremental. tested_rows: changed or all.
    """

    batch: int
    published_batch: int
    publication: int
    extract_from: str | None
    extract_to: str | None
    chunk_rows: int
    snapshots: dict[str, int]
    rebuild: str
    compare_whole: str
    tested_rows: str = "changed"

    @property
    def base_snapshots(self) -> dict[str, int]:
        """The snapshots that this run's difference is taken from; none for what must be compared whole."""
        return self.snapshots if self.rebuild == "none" else {}

    def json(self) -> str:
        """All of it in one line."""
        return json.dumps(asdict(self))


def run_state(ti: Any) -> RunState:
    """The state of the run of `ti`, which holds the lease from then on. A macro of the DAGs' templates.

    Raises LeaseHeldError where another run writes.
    """
    hold_lease(ti)
    with transaction() as cursor:
        cursor.execute(
            """
            select
                pipeline.*,
                runs.extract_from,
                runs.window_end,
                coalesce((select batch from gold.publication), 0) as publication
            from audit.pipeline
            left join audit.runs on runs.dag_id = %s and runs.run_id = %s
            """,
            (ti.dag_id, ti.run_id),
        )
        row: Any = cursor.fetchone()
    return RunState(
        batch=row.lease_batch,
        published_batch=row.published_batch,
        publication=row.publication,
        extract_from=iso(row.extract_from) if row.extract_from else None,
        extract_to=iso(row.window_end) if row.window_end else None,
        chunk_rows=settings().chunk_rows,
        snapshots=row.published_snapshots,
        rebuild=row.rebuild,
        # No snapshot recorded: nothing was published yet.
        compare_whole=row.rebuild if row.published_snapshots else "silver",
    )


# The environment of a dbt task, templates: rendered as a try starts, which also takes the lease.
# By environment and not by `--vars`: changed vars force dbt to parse the whole project again.
DBT_RUN_ENVIRONMENT = {
    "MEDALLION_TASK": "{{ ti.dag_id }}.{{ ti.task_id }}",
    "MEDALLION_RUN": "{{ run_state(ti).json() }}",
}
