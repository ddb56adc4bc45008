"""Publishing: one PostgreSQL transaction moves all gold tables, the published batch and the watermark."""

import logging
from typing import Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from medallion.engines.postgres import transaction
from medallion.names import ROLLBACK_DAG, Group, Role, place_of, task_id
from medallion.publish.audit import Audited
from medallion.publish.tables import (
    GIVE_WAY,
    apply_staged_rows,
    count_published_rows,
    count_staged_rows,
    drop_left_tables,
    drop_staging,
    try_again_when_blocked,
)
from medallion.run.attempts import run_of
from medallion.run.history import load_history
from medallion.run.lease import lock_pipeline
from medallion.store.attempts import record_processed, tasks_attempted_above
from medallion.store.pipeline import Pipeline, publication_batch, record_publication
from medallion.store.runs import read_run

log = logging.getLogger(__name__)


def has_written(attempted: set[str]) -> bool:
    """Return whether one of the attempted tasks may have written to the lake, or tested it."""
    return any(task != Group.PUBLISH and place_of(task).role is not Role.WATCH for task in attempted)


def skip_while_held(pipeline: Pipeline) -> None:
    """Raise AirflowSkipException if publishing is held by a roll-back."""
    if pipeline.held_by:
        raise AirflowSkipException(
            f"Publishing is held since gold was rolled back by {pipeline.held_by}. Resume it by a run of"
            f" {ROLLBACK_DAG} without `to_batch` (make resume); the next run then publishes everything since."
        )


def publish(ti: Any, audited: Audited | None) -> dict[str, int]:
    """Apply the rows that the run staged to the gold tables; return each table's number of rows.

    `audited` is the result of `audit_run`. If `begin` found nothing to audit, it is ignored, and only the batch and the
    watermark move. Raises:

    - AirflowSkipException if a later batch is published, which includes this run's rows, or while a roll-back holds
      publishing;
    - AirflowFailException if another run has published since the audit, or if something was written since `begin`
      found nothing to do;
    - BlockedError if a lock of another session is not released within most of a minute.
    """
    counts = apply_publication(ti, audited)
    drop_staging()
    return counts


@try_again_when_blocked
def apply_publication(ti: Any, audited: Audited | None) -> dict[str, int]:
    """Do what `publish` describes, in one transaction."""
    with transaction(lock_limit=GIVE_WAY) as cursor:
        pipeline = lock_pipeline(cursor, ti)
        skip_while_held(pipeline)
        published, history = publication_batch(cursor), load_history(cursor, ti)
        attempt = history.attempts.get(Group.AUDIT)
        if attempt and attempt.status == "skipped":
            # Without an audit in this run, `audited` can only be the result of an earlier attempt.
            audited = None
            assert attempt.batch is not None  # noqa: S101, `begin` recorded the batch while it held the lease
            batch = attempt.batch
        elif audited:
            batch = audited["batch"]
        else:
            raise AirflowFailException(
                f"The run was not audited: clear its task `{Group.AUDIT}` with all downstream"
            )
        if batch == published:
            log.info("An earlier attempt has published this run.")
            return count_published_rows(cursor)
        if batch < published:
            raise AirflowSkipException(f"Batch {published} is published already, {batch} is older.")
        if audited and published != audited["base_publication"]:
            raise AirflowFailException(
                f"Batch {published} was published after this run was audited:"
                f" clear its task `{Group.AUDIT}` with all downstream"
            )
        if not audited and has_written(tasks_attempted_above(cursor, pipeline.published_batch)):
            raise AirflowFailException(
                "Tasks have run since this run began and found nothing to do: clear it from `begin`"
            )
        run = run_of(ti)
        record = read_run(cursor, run)
        if not record:
            raise AirflowFailException(
                "The run has no window, because `begin` was marked as done by hand: clear it with all downstream"
            )
        if audited:
            staged = count_staged_rows(cursor, audited["staging"])
            counts = {task_id(Group.STAGE, name): count for name, count in staged.items()}
            record_processed(cursor, run, counts)
            apply_staged_rows(cursor, audited)
        drop_left_tables(cursor)
        record_publication(
            cursor,
            run,
            batch=batch,
            read_batch=history.batch_read_by_all(),
            window=(record.window_start, record.window_end),
            covers_window=history.bronze_covers_window(record.resolved_at),
            snapshots=audited["snapshots"] if audited else pipeline.published_snapshots,
            fingerprints=record.fingerprints,
        )
        return count_published_rows(cursor)
