"""Find the bronze tables with unpublished rows. If there are none, the run starts no Spark job and no model."""

import logging

from airflow.sdk.exceptions import AirflowFailException

from medallion.engines.iceberg import (
    columns_and_properties,
    columns_at,
    has_columns,
    has_rows_above,
    is_empty,
    load_lake,
)
from medallion.engines.postgres import transaction
from medallion.names import BRONZE, CHANGED_AT, NO_REBUILD, SILVER, lake_table, staging_table
from medallion.project.declarations import columns_read, declarations
from medallion.project.manifest import model_tables, source_tables
from medallion.run.state import RunState
from medallion.store.pipeline import forget_published_snapshots

log = logging.getLogger(__name__)


def tables_with_new_rows(run: RunState, tables: list[str]) -> list[str]:
    """Return the bronze tables whose entities must be updated.

    They are the tables with rows above the published batch, and those without a silver table. All of them are returned
    if a rebuild was requested, if other code has made a table, if a model with rows was never published, if a published
    table is gone, or if a silver table differs from its declaration. In the last two cases the recorded snapshots are
    cleared as well, so that silver and gold are compared whole. Reads only Iceberg's metadata: schemas, and the
    greatest `_batch` of each data file.

    Raises AirflowFailException if a table has rows of a later batch than this run's: then the gold database, which
    holds the state, is not the one that the lake was written with.
    """
    catalog = load_lake()

    def with_rows_above(batch: int) -> list[str]:
        return [name for name in tables if has_rows_above(catalog, lake_table(BRONZE, name), batch)]

    changed = with_rows_above(run.published_batch)
    if changed and (ahead := with_rows_above(run.batch)):
        raise AirflowFailException(
            f"{run.lake_catalog}.{BRONZE}.{ahead[0]} has rows of a later batch than this run's, {run.batch}: the gold"
            " database is new, or older than the lake. In it: update audit.pipeline set last_batch = N, the greatest"
            f" _batch of all {run.lake_catalog}.{BRONZE} tables; then trigger a new run, which takes everything since"
            " the last publication."
        )
    published = {name: run.snapshots[name] for name in model_tables() & run.snapshots.keys()}
    lost = [name for name, snapshot in published.items() if columns_at(catalog, name, snapshot) is None]
    declared = declarations()
    silver = {
        name: columns_and_properties(catalog, lake_table(SILVER, staging_table(name))) for name in tables
    }
    changed_declarations = [
        name for name, actual in silver.items() if actual and not declared[name].fits(*actual)
    ]
    if lost:
        log.warning(
            "The published snapshots of %s are gone. Silver and gold are compared whole.", ", ".join(lost)
        )
    if changed_declarations:
        log.warning(
            "The declarations of %s changed. Their tables are rebuilt, and silver and gold are compared whole.",
            ", ".join(map(staging_table, changed_declarations)),
        )
    if lost or changed_declarations:
        with transaction() as cursor:
            forget_published_snapshots(cursor)
    if lost or changed_declarations or run.rebuild != NO_REBUILD or run.outdated:
        return tables
    if not all(is_empty(catalog, name) for name in model_tables() - run.snapshots.keys()):
        return tables
    return [name for name in tables if name in changed or not silver[name]]


def tables_without_work(run: RunState, tables: list[str]) -> list[str]:
    """Return the bronze tables, `schema.name`, that need no task if the source has no row for them in the window.

    They were published, exist with all the columns that the models need, and have no row above the published batch.
    Tables of version 0.2 and earlier lack the column `_changed_at` until their task has run.
    """
    if not (published := [name for name in tables if name in run.snapshots]):
        return []
    catalog, reads = load_lake(), columns_read()
    needed = {
        lake_table(BRONZE, table.model): {*table.key, CHANGED_AT} | reads.get(table.model, set())
        for table in source_tables()
    }
    return [
        name
        for name in published
        if has_columns(catalog, name, needed[name]) and not has_rows_above(catalog, name, run.published_batch)
    ]
