"""The single row of `audit.pipeline`: last publication, lease, requested rebuild; and the queue for the lease."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from medallion.engines.postgres import Cursor, render_sql


@dataclass(frozen=True)
class Run:
    """A run of any of our DAGs."""

    dag_id: str
    run_id: str


@dataclass(frozen=True)
class Pipeline:
    """The row of `audit.pipeline`. Times are UTC.

    watermark: published windows cover all changes at the source before this time.
    published_batch: the publication includes every row up to this batch.
    published_snapshots: table of the lake -> snapshot of the publication.
    holder: the run that has the lease, under the batch lease_batch.
    rebuild: the layer that is to be rebuilt, requested under rebuild_batch.
    outdated: tables of the lake that other code has made, requested under rebuild_batch to be compared whole.
    fingerprints: table of the lake -> fingerprint of the code that made its rows, as of the last publication.
    held_by: the run that rolled gold back and holds publishing.
    """

    watermark: datetime | None
    published_batch: int
    published_snapshots: dict[str, int]
    last_batch: int
    holder: Run | None
    lease_batch: int | None
    rebuild: str
    rebuild_batch: int
    outdated: list[str]
    fingerprints: dict[str, str]
    held_by: str | None


def _pipeline(row: Any) -> Pipeline:
    return Pipeline(
        watermark=row.watermark,
        published_batch=row.published_batch,
        published_snapshots=row.published_snapshots,
        last_batch=row.last_batch,
        holder=Run(row.lease_dag_id, row.lease_run_id) if row.lease_dag_id else None,
        lease_batch=row.lease_batch,
        rebuild=row.rebuild,
        rebuild_batch=row.rebuild_batch,
        outdated=row.outdated,
        fingerprints=row.fingerprints,
        held_by=row.held_by,
    )


def read_pipeline(cursor: Cursor) -> Pipeline:
    """Return the row of `audit.pipeline`."""
    cursor.execute("select * from audit.pipeline")
    return _pipeline(cursor.fetchone())


def lock_pipeline_row(cursor: Cursor) -> Pipeline:
    """Return the row of `audit.pipeline`, locked until the transaction ends."""
    cursor.execute("select * from audit.pipeline for update")
    return _pipeline(cursor.fetchone())


def give_lease(cursor: Cursor, run: Run) -> None:
    """Give the lease to a run, under a new batch, and take the run out of the queue."""
    cursor.execute(
        """
        update audit.pipeline
        set
            lease_dag_id = %s,
            lease_run_id = %s,
            last_batch = last_batch + 1,
            lease_batch = last_batch + 1
        """,
        (run.dag_id, run.run_id),
    )
    leave_queue(cursor, run)


def release_lease(cursor: Cursor, run: Run) -> None:
    """Free the lease; no effect if the run does not hold it."""
    cursor.execute(
        """
        update audit.pipeline
        set lease_dag_id = null, lease_run_id = null, lease_batch = null
        where lease_dag_id = %s and lease_run_id = %s
        """,
        (run.dag_id, run.run_id),
    )


def first_in_queue(cursor: Cursor, run: Run, patience: timedelta) -> Run:
    """Record that a run waits, drop runs that have not asked within `patience`, and return the first in the queue."""
    # clock_timestamp() instead of now(): the transaction may have waited for the row since it began.
    cursor.execute(
        """
        insert into audit.lease_queue (dag_id, run_id, seen_at) values (%s, %s, clock_timestamp())
        on conflict (dag_id, run_id) do update set seen_at = excluded.seen_at
        """,
        (run.dag_id, run.run_id),
    )
    cursor.execute("delete from audit.lease_queue where seen_at < clock_timestamp() - %s", (patience,))
    cursor.execute("select dag_id, run_id from audit.lease_queue order by place limit 1")
    [first] = cursor.fetchall()
    return Run(*first)


def leave_queue(cursor: Cursor, run: Run) -> None:
    """Take a run out of the queue."""
    cursor.execute(
        "delete from audit.lease_queue where (dag_id, run_id) = (%s, %s)", (run.dag_id, run.run_id)
    )


def request_rebuild(cursor: Cursor, layer: str) -> None:
    """Keep the request to rebuild `layer` (gold or silver) until it is published; silver includes gold."""
    cursor.execute(
        """
        update audit.pipeline
        set rebuild_batch = lease_batch, rebuild = case when rebuild = 'silver' then rebuild else %s end
        """,
        (layer,),
    )


def request_comparison(cursor: Cursor, tables: list[str]) -> None:
    """Keep the request to compare tables of the lake whole until it is published, together with earlier ones."""
    cursor.execute(
        """
        update audit.pipeline
        set rebuild_batch = lease_batch, outdated = array(select unnest(outdated) union select unnest(%s::text[]))
        """,
        (tables,),
    )


def set_first_watermark(
    cursor: Cursor, history_start: datetime | None, oldest: datetime | None
) -> datetime | None:
    """Set the watermark if there is none yet and the source has rows; return it.

    `history_start`: MEDALLION_HISTORY_START, UTC.
    `oldest`: the oldest change at the source, UTC; None if it has no row.
    """
    if oldest is not None:
        cursor.execute(
            "update audit.pipeline set watermark = coalesce(watermark, %s::timestamptz, %s::timestamptz)",
            (history_start, oldest),
        )
        return read_pipeline(cursor).watermark
    return None


def is_everything_published(cursor: Cursor, window_end: str | None) -> bool:
    """Return whether `window_end` (ISO 8601), the batch before the lease's and all requested rebuilds are published."""
    cursor.execute(
        "select watermark >= %s::timestamptz and published_batch = lease_batch - 1 and rebuild = 'none'"
        " and outdated = '{}' as published from audit.pipeline",
        (window_end,),
    )
    row: Any = cursor.fetchone()
    return bool(row.published)


def forget_published_snapshots(cursor: Cursor) -> None:
    """Let every run compare silver and gold whole until the next publication."""
    cursor.execute("update audit.pipeline set published_snapshots = '{}'")


def resume_publishing(cursor: Cursor) -> None:
    """End the hold that a roll-back set."""
    cursor.execute("update audit.pipeline set held_by = null")


def publication_batch(cursor: Cursor) -> int:
    """Return the batch of the publication that BI reads; 0 before the first.

    It may be higher than `published_batch`, which stays lower if a task of that run had read only an earlier batch.
    """
    cursor.execute("select coalesce(max(batch), 0) as batch from gold.publication")
    row: Any = cursor.fetchone()
    return int(row.batch)


def record_publication(
    cursor: Cursor,
    run: Run,
    *,
    batch: int,
    read_batch: int,
    window: tuple[datetime | None, datetime | None],
    covers_window: bool,
    snapshots: Mapping[str, int],
    fingerprints: Mapping[str, str],
) -> None:
    """Move the published batch, the snapshots and the watermark, in the transaction that applied the staged rows.

    `read_batch`: the batch up to which every task of the run had read. `covers_window`: whether bronze holds
    everything that the source had in `window`, UTC. `fingerprints`: those of the code that the run began with.
    """
    cursor.execute(
        render_sql("control/record_publication.sql"),
        {
            "run_id": run.run_id,
            "batch": batch,
            "read_batch": read_batch,
            "window_start": window[0],
            "window_end": window[1],
            "bronze_covers_window": covers_window,
            "snapshots": json.dumps(snapshots),
            "fingerprints": json.dumps(fingerprints),
        },
    )


def record_roll_back(
    cursor: Cursor, run: Run, *, to_batch: int, published_batch: int, snapshots: Mapping[str, int]
) -> None:
    """Restore what the publication by `to_batch` had recorded, and hold publishing."""
    cursor.execute(
        render_sql("control/record_roll_back.sql"),
        {
            "run_id": run.run_id,
            "to_batch": to_batch,
            "published_batch": published_batch,
            "snapshots": json.dumps(snapshots),
        },
    )


def read_gold_end(cursor: Cursor) -> datetime | None:
    """Return the end of the range that gold covers, UTC; None before the first publication of a row of the source."""
    cursor.execute("select window_end from gold.publication")
    publication: Any = cursor.fetchone()
    return publication.window_end if publication else None


def age_of_gold_is_within(cursor: Cursor, limit: timedelta) -> bool:
    """Return whether gold was published, and the window that it covers ended at most `limit` ago."""
    cursor.execute("select now() - window_end <= %s as is_new from gold.publication", (limit,))
    publication: Any = cursor.fetchone()
    return bool(publication and publication.is_new)
