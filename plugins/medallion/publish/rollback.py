"""Roll gold back to an earlier publication, from the lake's snapshots, and hold publishing until it is resumed."""

import logging
from typing import Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from psycopg.errors import CardinalityViolation, IntegrityError

from medallion.engines.iceberg import columns_at, load_lake
from medallion.engines.postgres import transaction
from medallion.names import is_gold
from medallion.project.contracts import Staged
from medallion.project.manifest import model_tables
from medallion.publish.tables import (
    GIVE_WAY,
    apply_staged_rows,
    count_published_rows,
    drop_staging,
    try_again_when_blocked,
)
from medallion.run.attempts import run_of
from medallion.run.lease import lock_pipeline
from medallion.run.state import read_state
from medallion.store.audits import read_publications
from medallion.store.pipeline import record_roll_back, resume_publishing

log = logging.getLogger(__name__)


class Chosen(Staged):
    """XCom: the publication to restore, which is staged whole. Its batch is `to_batch`.

    published_batch, published_snapshots: the state of the lake at that publication. If one of its snapshots has
    expired, `published_snapshots` is empty, and the next run compares silver and gold whole.
    """

    to_batch: int
    published_batch: int
    published_snapshots: dict[str, int]


def choose_publication(ti: Any, params: dict[str, Any]) -> Chosen:
    """Find the publication by the batch `to_batch`; without one, resume publishing and skip the rest.

    Raises AirflowFailException if there is no such publication, or if a gold table's snapshot has expired.
    """
    run = read_state(ti)
    if params["to_batch"] is None:
        with transaction() as cursor:
            resume_publishing(cursor)
        raise AirflowSkipException("Publishing is resumed: the next run publishes everything since.")
    with transaction() as cursor:
        publications = {publication.batch: publication for publication in read_publications(cursor)}
    publication = publications.get(params["to_batch"])
    if not publication:
        raise AirflowFailException(
            f"There is no publication by batch {params['to_batch']}; the latest are"
            f" {', '.join(map(str, list(publications)[:10])) or 'none'} (make publications)"
        )
    catalog = load_lake()
    known = model_tables()
    models = known & publication.snapshots.keys()
    if left := sorted(filter(is_gold, publication.snapshots.keys() - known)):
        log.warning(
            "%s left the project after batch %d and can't be restored. The lake has the rows: see `make as-of`.",
            ", ".join(left),
            publication.batch,
        )
    if younger := sorted(filter(is_gold, known - publication.snapshots.keys())):
        log.warning(
            "The publication by batch %d has no %s. These tables have no rows until publishing is resumed.",
            publication.batch,
            ", ".join(younger),
        )
    columns = {name: columns_at(catalog, name, publication.snapshots[name]) for name in models}
    expired = [name for name, names in columns.items() if names is None]
    if gone := [name for name in expired if is_gold(name)]:
        raise AirflowFailException(
            f"The snapshots of batch {publication.batch} have expired for {', '.join(gone)}:"
            " choose a later publication"
        )
    return {
        "staging": f"{run.batch}_{ti.try_number}",
        "snapshots": publication.snapshots,
        "columns": {name: names for name, names in columns.items() if names and is_gold(name)},
        "base_snapshots": {},
        "base_batch": 0,
        "to_batch": publication.batch,
        "published_batch": publication.published_batch,
        "published_snapshots": {} if expired else publication.snapshots,
    }


def restore(ti: Any, chosen: Chosen) -> dict[str, int]:
    """Turn PostgreSQL's gold into the `chosen` publication and hold publishing; return each table's number of rows.

    Raises BlockedError if a lock of another session is not released within most of a minute, and AirflowFailException
    if rows of that publication break a key or a constraint that the model got later.
    """
    counts = apply_roll_back(ti, chosen)
    drop_staging()
    return counts


@try_again_when_blocked
def apply_roll_back(ti: Any, chosen: Chosen) -> dict[str, int]:
    """Do what `restore` describes, in one transaction."""
    with transaction(lock_limit=GIVE_WAY) as cursor:
        pipeline = lock_pipeline(cursor, ti)
        if pipeline.held_by == ti.run_id:
            log.info("An earlier attempt has rolled gold back.")
            return count_published_rows(cursor)
        try:
            apply_staged_rows(cursor, chosen)
        except (CardinalityViolation, IntegrityError) as error:
            raise AirflowFailException(
                f"The publication by batch {chosen['to_batch']} has rows that break the key or a constraint of the"
                f" model of today: {str(error).strip()}. Choose a later publication, or roll the code back, too."
            ) from None
        record_roll_back(
            cursor,
            run_of(ti),
            to_batch=chosen["to_batch"],
            published_batch=chosen["published_batch"],
            snapshots=chosen["published_snapshots"],
        )
        log.info(
            "Gold shows the publication by batch %d. Nothing is published until publishing is resumed.",
            chosen["to_batch"],
        )
        return count_published_rows(cursor)
