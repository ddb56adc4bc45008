"""The context of a run that every engine gets: batch, window, and the last publication."""

import json
import logging
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from medallion.engines.postgres import transaction
from medallion.names import NO_REBUILD, SILVER
from medallion.run.attempts import run_of
from medallion.run.code import check_code
from medallion.run.lease import check_holder, hold_lease
from medallion.run.window import RunKind, iso, minus_lookback
from medallion.settings import settings
from medallion.store.pipeline import publication_batch, read_pipeline
from medallion.store.runs import read_run

log = logging.getLogger(__name__)

TARGET_FILE_BYTES = 128 * 1024 * 1024  # size that data files of the lake should have


@dataclass(frozen=True)
class RunState:
    """The context of a run, the same JSON for dbt (MEDALLION_RUN), for the Spark jobs (`--run`) and for people.

    kind: RunKind of the run.
    batch: number of the run, in the column `_batch` of every row that it writes.
    published_batch: rows above it are not published yet.
    extract_from, extract_to: the window with its lookback, UTC, half-open; null if nothing is extracted. A
        reconciliation gets the range that no later window reads again.
    chunk_rows: approximate number of rows that a statement captures.
    publication: batch of the last publication; 0 if there was none.
    snapshots: table -> snapshot id of the last publication.
    rebuild: the layer whose rebuild is requested, or none.
    compare_whole: none, gold or silver; tables of this layer and above are compared whole.
    outdated: tables that were built by other code than the present one; they are compared whole, too.
    tested_rows: which rows dbt's tests read, changed or all.
    max_deleted_share, max_deleted_from: a reconciliation leaves a table unchanged if more than this share of its rows
        is missing, and at least this number of rows.
    lake_catalog, gold_catalog: Trino's catalogs; Spark knows the lake by the same name.
    target_file_bytes: size that data files should have.
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
    outdated: list[str]
    tested_rows: str
    max_deleted_share: float
    max_deleted_from: int
    lake_catalog: str
    gold_catalog: str
    target_file_bytes: int

    @property
    def base_snapshots(self) -> dict[str, int]:
        """Return the snapshots with which this run finds changes; a table that is compared whole has none."""
        if self.rebuild != NO_REBUILD:
            return {}
        return {name: snapshot for name, snapshot in self.snapshots.items() if name not in self.outdated}

    def json(self) -> str:
        """Return the context in one line of JSON."""
        return json.dumps(asdict(self))


def claim_run(ti: Any, allow_deletes: bool = False) -> RunState:
    """Make sure that the run of `ti` holds the lease, and return its context as `read_state` does.

    Raises LeaseHeldError if another run holds the lease.
    """
    hold_lease(ti)
    state = read_state(ti, allow_deletes)
    log.info(
        "Batch %d, after the published batch %d; extracts from %s to %s (UTC)",
        state.batch, state.published_batch, state.extract_from, state.extract_to,
    )  # fmt: skip
    return state


def read_state(ti: Any, allow_deletes: bool = False) -> RunState:
    """Return the context of the run of `ti`, which holds the lease; changes nothing.

    `allow_deletes`: a reconciliation accepts any share of missing rows. Raises LeaseHeldError if the run has lost
    the lease, CodeChangedError if the project's files are not those that the run began with.
    """
    with transaction() as cursor:
        pipeline = read_pipeline(cursor)
        check_holder(pipeline, ti)
        run = read_run(cursor, run_of(ti))
        publication = publication_batch(cursor)
    if run:
        check_code(run)
    reconciles = run is not None and run.kind == RunKind.RECONCILE
    extracted: tuple[datetime | None, datetime | None] = (None, None)
    if reconciles:
        extracted = covered_range(pipeline.watermark)
    elif run:
        extracted = run.extract_from, run.window_end
    extract_from, extract_to = (iso(moment) if moment else None for moment in extracted)
    assert pipeline.lease_batch is not None  # noqa: S101, this run holds the lease
    return RunState(
        kind=run.kind if run else None,
        batch=pipeline.lease_batch,
        published_batch=pipeline.published_batch,
        publication=publication,
        extract_from=extract_from,
        extract_to=extract_to,
        chunk_rows=settings().chunk_rows,
        snapshots=pipeline.published_snapshots,
        rebuild=pipeline.rebuild,
        # Without recorded snapshots there is nothing to compare with.
        compare_whole=pipeline.rebuild if pipeline.published_snapshots else SILVER,
        outdated=pipeline.outdated,
        tested_rows="all" if reconciles else "changed",
        max_deleted_share=1 if allow_deletes else settings().max_deleted_share,
        max_deleted_from=settings().max_deleted_from,
        lake_catalog=settings().lake_catalog,
        gold_catalog=settings().gold_catalog,
        target_file_bytes=TARGET_FILE_BYTES,
    )


def covered_range(watermark: datetime | None) -> tuple[datetime | None, datetime | None]:
    """Return the range, UTC, that windows have read and will not read again; None for both before the first."""
    if watermark is None:
        return None, None
    lookback = settings().lookback
    start = settings().history_start or datetime.min.replace(tzinfo=UTC)
    return minus_lookback(start, lookback), minus_lookback(watermark, lookback)
