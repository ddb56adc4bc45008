"""Publishing: one PostgreSQL transaction moves all gold tables, the published batch and the watermark."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from psycopg.errors import UndefinedTable

from medallion.engines.postgres import Cursor, rendered, transaction
from medallion.project.contracts import Staged, gold_tables, published_columns
from medallion.publish.audit import Audited
from medallion.run.attempts import group_of, last_attempts, read_batch, record_processed
from medallion.run.lease import lock_pipeline
from medallion.run.state import run_state

log = logging.getLogger(__name__)


def publish(ti: Any, audited: Audited) -> dict[str, int]:
    """Applies what the run staged to the `gold` tables; returns each table's count of rows.

    `audited` is what `audit_run` returned, and what was staged. Skips where a later batch is published already: that
    publication holds this run's rows too; and while publishing is held by a roll-back. Raises AirflowFailException
    where an earlier one came between.
    """
    run_state(ti)  # holds the lease
    batch, staging, tables = audited["batch"], audited["staging"], gold_tables()
    with transaction() as cursor:
        pipeline = lock_pipeline(cursor, ti)
        if pipeline.held_by:
            raise AirflowSkipException(
                f"publishing is held since gold was rolled back by {pipeline.held_by}: resume it by a run of"
                " medallion_rollback without `to_batch` (make resume); the next run then publishes everything since"
            )
        # Not the published batch, which a task that had read earlier holds back.
        cursor.execute("select coalesce(max(batch), 0) as batch from gold.publication")
        publication: Any = cursor.fetchone()
        published = publication.batch
        if batch == published:
            log.info("An earlier try has published it.")
            return count_rows(cursor)
        if batch < published:
            raise AirflowSkipException(f"batch {published} is published already, {batch} is older")
        if published != audited["base_publication"]:
            raise AirflowFailException(
                f"batch {published} was published after this run was audited:"
                " clear its task `audit` with all downstream"
            )
        with require_staging():
            cursor.execute(
                " union all ".join(
                    f"select 'stage.{table.name}' as task_id, count(*) as records from staging.{table.name}_{staging}"
                    for table in tables
                ).encode()
            )
        record_processed(cursor, ti, dict(cursor.fetchall()))
        cursor.execute(
            "select window_start, window_end, resolved_at from audit.runs where dag_id = %s and run_id = %s",
            (ti.dag_id, ti.run_id),
        )
        window: Any = cursor.fetchone()
        if not window:
            raise AirflowFailException(
                "the run has no window, as `begin` was marked as done by hand: clear it with all downstream"
            )
        tries = last_attempts(cursor, ti)
        cursor.execute(
            apply_staged_sql(cursor, "publish.sql", audited),
            {
                "run_id": ti.run_id,
                "batch": batch,
                "read_batch": read_batch(tries, ti),
                "window_start": window.window_start,
                "window_end": window.window_end,
                "bronze_covers_window": bronze_covers_window(tries, ti, window.resolved_at),
                "snapshots": json.dumps(audited["snapshots"]),
            },
        )
        drop_staging(cursor)
        return count_rows(cursor)


def apply_staged_sql(cursor: Cursor, name: str, staged: Staged) -> bytes:
    """The statements of `include/sql` that make the gold tables what was `staged`.

    Raises AirflowFailException where a table is gone of which a difference alone is staged.
    """
    present, base = published_columns(cursor), staged["base_snapshots"]
    if gone := [
        table.name for table in gold_tables() if f"gold.{table.name}" in base and table.name not in present
    ]:
        raise AirflowFailException(
            f"gold.{', gold.'.join(gone)} is gone from PostgreSQL since this run was audited:"
            " clear its task `audit` with all downstream"
        )
    return rendered(
        name, staging=staged["staging"], tables=gold_tables(), present=present, base_snapshots=base
    )


def count_rows(cursor: Cursor) -> dict[str, int]:
    """Counts the rows of each gold table, and logs them."""
    cursor.execute(
        " union all ".join(
            f"select '{table.name}' as name, count(*) as rows from gold.{table.name}"
            for table in gold_tables()
        ).encode()
    )
    counts = dict(cursor.fetchall())
    for name, count in counts.items():
        log.info("gold.%s: %d rows", name, count)
    return counts


def bronze_covers_window(last: dict[str, Any], ti: Any, resolved_at: datetime) -> bool:
    """Whether bronze has what the source had in the run's window: each task's last try began later, and ended well.

    `resolved_at`: when the window was resolved, UTC. Not so where a task was marked as done by hand; nor where the run
    got its window after bronze had run: it began on an empty source, and was cleared above bronze.
    """
    bronze = [task for task in {*last, *ti.task.dag.task_ids} if group_of(task) == "bronze"]
    return all(
        task in last and last[task].is_done and last[task].start_time >= resolved_at for task in bronze
    )


@contextmanager
def require_staging() -> Iterator[None]:
    """Raises AirflowFailException where a staging table is gone that the block reads."""
    try:
        yield
    except UndefinedTable as error:
        raise AirflowFailException(
            "The staged rows are gone, because gold was published, rolled back or audited again meanwhile"
            f" ({error.diag.message_primary}): clear the tasks of `stage` with all downstream"
        ) from error


def drop_staging(cursor: Cursor) -> None:
    """Drops the staging tables of all batches: what those of runs that ended too early hold is published now, too.

    And those that Trino had not yet renamed when it was killed, of the names that it gives them.
    """
    names = "|".join(table.name for table in gold_tables())
    cursor.execute(
        "select format('staging.%%I', tablename) as name from pg_tables"
        " where schemaname = 'staging' and tablename ~ %s",
        (rf"^(({names})_\d+_\d+|tmp_trino_.+)$",),
    )
    cursor.execute(f"drop table {', '.join(row.name for row in cursor.fetchall())}".encode())
