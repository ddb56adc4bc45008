"""Rolling gold back: an earlier publication, from the lake's snapshots, and nothing new until it is resumed."""

import json
import logging
from typing import Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from medallion.engines.iceberg import columns_at, load_lake
from medallion.engines.postgres import transaction
from medallion.project.contracts import Staged
from medallion.project.manifest import model_tables
from medallion.publish.publish import apply_staged_sql, count_rows, drop_staging, require_staging
from medallion.run.lease import lock_pipeline
from medallion.run.state import run_state

log = logging.getLogger(__name__)


class Chosen(Staged):
    """An earlier publication, by the batch `to_batch`, which is staged whole.

    published_batch, published_snapshots: what was published then; no snapshots where one has expired since, so that
    the next run compares everything.
    """

    to_batch: int
    published_batch: int
    published_snapshots: dict[str, int]


def choose_publication(ti: Any, params: dict[str, Any]) -> Chosen:
    """Finds the publication by the batch `to_batch`; without one lets publishing go on, and skips the rest.

    Raises AirflowFailException where there is no such publication, or a gold table's snapshot has expired.
    """
    run = run_state(ti)
    if params["to_batch"] is None:
        with transaction() as cursor:
            cursor.execute("update audit.pipeline set held_by = null")
        raise AirflowSkipException("publishing goes on: the next run publishes everything since")
    with transaction() as cursor:
        cursor.execute("select * from audit.publications order by batch desc")
        publications: dict[int, Any] = {row.batch: row for row in cursor.fetchall()}
    found = publications.get(params["to_batch"])
    if not found:
        raise AirflowFailException(
            f"there is no publication by batch {params['to_batch']}; the latest are"
            f" {', '.join(map(str, list(publications)[:10])) or 'none'} (make publications)"
        )
    catalog = load_lake()
    # Of other tables that were there nothing is restored.
    models = model_tables() & found.snapshots.keys()
    columns = {name: columns_at(catalog, name, found.snapshots[name]) for name in models}
    expired = [name for name, known in columns.items() if known is None]
    if gone := [name for name in expired if name.startswith("gold.")]:
        raise AirflowFailException(
            f"the snapshots of batch {found.batch} have expired for {', '.join(gone)}: choose a later publication"
        )
    return {
        "staging": f"{run.batch}_{ti.try_number}",
        "snapshots": found.snapshots,
        "columns": {name: known for name, known in columns.items() if known and name.startswith("gold.")},
        "base_snapshots": {},
        "to_batch": found.batch,
        "published_batch": found.published_batch,
        "published_snapshots": {} if expired else found.snapshots,
    }


def restore(ti: Any, chosen: Chosen) -> dict[str, int]:
    """Makes PostgreSQL's gold what was `chosen` and holds publishing; returns each table's count of rows."""
    run_state(ti)  # holds the lease
    with transaction() as cursor:
        pipeline = lock_pipeline(cursor, ti)
        if pipeline.held_by == ti.run_id:
            log.info("An earlier try has done it.")
            return count_rows(cursor)
        with require_staging():
            cursor.execute(
                apply_staged_sql(cursor, "roll_back.sql", chosen),
                {
                    "run_id": ti.run_id,
                    "to_batch": chosen["to_batch"],
                    "published_batch": chosen["published_batch"],
                    "snapshots": json.dumps(chosen["published_snapshots"]),
                },
            )
        drop_staging(cursor)
        log.info(
            "Gold is as batch %d published it. Nothing is published until it is resumed.", chosen["to_batch"]
        )
        return count_rows(cursor)
