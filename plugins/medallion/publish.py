"""Publishing: one PostgreSQL transaction moves all gold tables, the published batch and the watermark."""

import json
import logging
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from medallion.database import transaction
from medallion.gold import gold_tables
from medallion.run_state import run_state
from medallion.settings import SQL

log = logging.getLogger(__name__)


def publish(ti: Any) -> dict[str, Any]:
    """Applies what the run staged to the `gold` tables; returns batch and row counts per table.

    Skips where a later batch is published already: that publication holds this run's rows too.
    """
    run = run_state(ti)
    templates = Environment(loader=FileSystemLoader(SQL), undefined=StrictUndefined)  # noqa: S701 - SQL, not HTML
    tables = gold_tables()
    with transaction() as cursor:
        cursor.execute("select published_batch from audit.pipeline for update")
        published: Any = cursor.fetchone()
        staged = staged_batch(cursor, ti)
        if staged <= published.published_batch:
            raise AirflowSkipException(
                f"batch {staged} was staged, but {published.published_batch} is published already"
            )
        cursor.execute(
            "select window_start, window_end from audit.runs where dag_id = %s and run_id = %s",
            (ti.dag_id, ti.run_id),
        )
        window: Any = cursor.fetchone()
        cursor.execute("select table_name, snapshot_id from audit.snapshots where batch = %s", (staged,))
        cursor.execute(
            templates.get_template("publish.sql").render(
                tables=tables,
                batch=staged,
                whole=[table.name for table in tables if not run.published_snapshot(f"gold.{table.name}")],
            ),
            {
                "run_id": ti.run_id,
                "batch": staged,
                "read_batch": read_batch(cursor, ti),
                "window_start": window.window_start,
                "window_end": window.window_end,
                "snapshots": json.dumps(snapshots(cursor, staged)),
            },
        )
        counts = {}
        for table in tables:
            cursor.execute(f"select count(*) as rows from gold.{table.name}")  # noqa: S608 - names from our contracts
            counts[table.name] = cursor.fetchone().rows
            log.info("gold.%s: %d rows", table.name, counts[table.name])
    return {"batch": staged, "rows": counts}


def staged_batch(cursor: Any, ti: Any) -> int:
    """The batch that the run's last stage tasks wrote their tables under."""
    cursor.execute(
        """
        select max(batch) as batch from audit.data_pipeline_runs
        where dag_id = %s and run_id = %s and task_id like 'stage.%%' and status = 'success'
        """,
        (ti.dag_id, ti.run_id),
    )
    return cursor.fetchone().batch


def read_batch(cursor: Any, ti: Any) -> int:
    """The batch up to which every task of the run read its input: the smallest over the tasks' last successes."""
    cursor.execute(
        """
        select min(batch) as batch
        from (
            select distinct on (task_id) batch
            from audit.data_pipeline_runs
            where dag_id = %s and run_id = %s and status = 'success'
            order by task_id, start_time desc
        ) as last_successes
        """,
        (ti.dag_id, ti.run_id),
    )
    return cursor.fetchone().batch


def snapshots(cursor: Any, batch: int) -> dict[str, int]:
    """Table (`layer.name`) -> Iceberg snapshot that the run of this batch left."""
    cursor.execute("select table_name, snapshot_id from audit.snapshots where batch = %s", (batch,))
    return {row.table_name: row.snapshot_id for row in cursor.fetchall()}
