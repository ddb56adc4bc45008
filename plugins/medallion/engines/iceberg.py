"""The lake's tables as their metadata describes them, read by pyiceberg. Tables are named `schema.name`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from medallion.names import LAYERS
from medallion.settings import settings

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot


# Each commit adds a manifest, and every statement opens all manifests. By default Iceberg merges them only when there
# are a hundred. Each commit also writes a metadata file that lists all snapshots; only the last 20 earlier ones stay.
PROPERTIES = {
    "commit.manifest.min-count-to-merge": "4",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}


def load_lake() -> Catalog:
    """Return the lake's catalog, as the environment or `.pyiceberg.yaml` configures it."""
    # Imported here, because importing pyiceberg takes a second and DAG files must load faster.
    from pyiceberg.catalog import load_catalog

    return load_catalog(settings().lake_catalog)


def iterate_tables(catalog: Catalog) -> Iterator[tuple[str, Table]]:
    """Yield the name of every table of the layers, and the loaded table."""
    for layer in LAYERS:
        for identifier in catalog.list_tables(layer):
            yield ".".join(identifier), catalog.load_table(identifier)


def keep_metadata_small(table: Table) -> None:
    """Let writers of a table merge its small manifests and delete its old metadata files, from the next commit on.

    No effect if they already do.
    """
    from pyiceberg.exceptions import CommitFailedException

    if not PROPERTIES.items() <= table.properties.items():
        # Another writer came first: the next run tries again.
        with suppress(CommitFailedException), table.transaction() as transaction:
            transaction.set_properties(PROPERTIES)


def snapshot_columns(table: Table, snapshot_id: int) -> list[str]:
    """Return the columns of a snapshot; columns added later can't be read from it."""
    return [field.name for field in table.scan(snapshot_id=snapshot_id).projection().fields]


def summary_number(snapshot: Snapshot, name: str) -> int:
    """Return a number of a snapshot's summary; 0 if the summary lacks that number."""
    return int((snapshot.summary and snapshot.summary[name]) or 0)


def _load_if_present(catalog: Catalog, table: str) -> Table | None:
    from pyiceberg.exceptions import NoSuchTableError

    try:
        return catalog.load_table(table)
    except NoSuchTableError:
        return None


def is_empty(catalog: Catalog, table: str) -> bool:
    """Return whether a table exists and nothing was ever written to it."""
    loaded = _load_if_present(catalog, table)
    return loaded is not None and loaded.current_snapshot() is None


def has_columns(catalog: Catalog, table: str, columns: set[str]) -> bool:
    """Return whether a table exists with all of the columns."""
    loaded = _load_if_present(catalog, table)
    return loaded is not None and columns <= {field.name for field in loaded.schema().fields}


def columns_and_properties(catalog: Catalog, table: str) -> tuple[dict[str, str], dict[str, str]] | None:
    """Return a table's columns with Iceberg's types, and its properties; None if it does not exist."""
    loaded = _load_if_present(catalog, table)
    if loaded is None:
        return None
    return {field.name: str(field.field_type) for field in loaded.schema().fields}, loaded.properties


def has_rows_above(catalog: Catalog, table: str, batch: int) -> bool:
    """Return whether some data file of a table may hold a row with `_batch` > `batch`."""
    return any(catalog.load_table(table).scan(row_filter=f"_batch > {batch}").plan_files())


def total_records(catalog: Catalog, table: str) -> int:
    """Return the number of records of a table, from its metadata; 0 if it does not exist."""
    loaded = _load_if_present(catalog, table)
    current = loaded.current_snapshot() if loaded else None
    return summary_number(current, "total-records") if current else 0


def columns_at(catalog: Catalog, table: str, snapshot_id: int) -> list[str] | None:
    """Return the columns of a table as of a snapshot; None if the table or the snapshot is gone."""
    loaded = _load_if_present(catalog, table)
    if loaded is None or not loaded.snapshot_by_id(snapshot_id):
        return None
    return snapshot_columns(loaded, snapshot_id)
