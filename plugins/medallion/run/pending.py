"""What there is to make of bronze: a run without news starts no Spark, and makes no model again."""

import logging

from airflow.sdk.exceptions import AirflowFailException

from medallion.engines.iceberg import columns_at, has_columns, has_rows_above, is_empty, load_lake
from medallion.engines.postgres import transaction
from medallion.project.manifest import model_columns, model_tables
from medallion.run.state import RunState

log = logging.getLogger(__name__)


def tables_with_new_rows(run: RunState, tables: list[str]) -> list[str]:
    """Those of the bronze tables with rows above the published batch, or all where bronze is to be read again.

    And those whose silver table lacks a column that its model describes: other models may read it.

    All of bronze is read again where a rebuild is asked for, a model was never published (unless it has no row to
    publish), or a published table is gone; the last empties `published_snapshots`, too, so that all of silver and gold
    is compared whole from here on. Metadata alone tells, read by pyiceberg:
    the greatest `_batch` of a data file. Raises AirflowFailException where a table has rows of a batch to come, which
    no run would read till then: the gold database, and the audit in it, is not the one that the lake was written with.
    """
    catalog = load_lake()

    def with_rows_above(batch: int) -> list[str]:
        return [name for name in tables if has_rows_above(catalog, f"bronze.{name}", batch)]

    news = with_rows_above(run.published_batch)
    if news and (ahead := with_rows_above(run.batch)):
        raise AirflowFailException(
            f"lake.bronze.{ahead[0]} has rows of a later batch than this run's, {run.batch}: the gold database is new,"
            " or older than the lake. In it: update audit.pipeline set last_batch = N, the greatest _batch of all"
            " lake.bronze tables; then trigger a new run, which takes everything since the last publication."
        )
    published = {name: run.snapshots[name] for name in model_tables() & run.snapshots.keys()}
    lost = [name for name, snapshot in published.items() if columns_at(catalog, name, snapshot) is None]
    if lost:
        log.warning("What was published of %s is gone: silver and gold are compared whole.", ", ".join(lost))
        with transaction() as cursor:
            cursor.execute("update audit.pipeline set published_snapshots = '{}'")
    if lost or run.rebuild != "none":
        return tables
    if not all(is_empty(catalog, name) for name in model_tables() - run.snapshots.keys()):
        return tables
    described = model_columns()
    return [
        name
        for name in tables
        if name in news or not has_columns(catalog, f"silver.stg_{name}", described[f"silver.stg_{name}"])
    ]


def tables_without_work(run: RunState, tables: list[str]) -> list[str]:
    """Those of the bronze tables, `schema.name`, in which a run without a row for them has nothing to do.

    They were published, are there with all the columns that their models describe, and have no row above the published
    batch, which their tests would have to look at.
    """
    if not (published := [name for name in tables if name in run.snapshots]):
        return []
    catalog, described = load_lake(), model_columns()
    return [
        name
        for name in published
        if has_columns(catalog, name, described[name])
        and not has_rows_above(catalog, name, run.published_batch)
    ]
