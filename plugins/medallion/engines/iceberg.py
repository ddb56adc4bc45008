"""The lake's tables: as Airflow's assets, and what their metadata says, read by pyiceberg."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from airflow.sdk import Asset

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

LAYERS = ("bronze", "silver", "gold")


def table_asset(name: str) -> Asset:
    """A table of the lake, `schema.name`, for what is scheduled by its changes."""
    return Asset(name=f"lake.{name}", uri=f"iceberg://lake/{name.replace('.', '/')}")


def load_lake() -> Catalog:
    """The lake's catalog, of the environment's or `.pyiceberg.yaml`'s `lake`."""
    # A second of imports, which whatever only draws the DAGs is spared.
    from pyiceberg.catalog import load_catalog

    return load_catalog("lake")


def tables(catalog: Catalog) -> Iterator[tuple[str, Table]]:
    """Every table of our layers, loaded, with its name `schema.name`."""
    for layer in LAYERS:
        for identifier in catalog.list_tables(layer):
            yield ".".join(identifier), catalog.load_table(identifier)


def snapshot_columns(table: Table, snapshot_id: int) -> list[str]:
    """The columns that a snapshot of a loaded table has: one that was added since can't be read from it."""
    return [field.name for field in table.scan(snapshot_id=snapshot_id).projection().fields]


def _loaded(catalog: Catalog, table: str) -> Table | None:
    from pyiceberg.exceptions import NoSuchTableError

    try:
        return catalog.load_table(table)
    except NoSuchTableError:
        return None


def is_empty(catalog: Catalog, table: str) -> bool:
    """Whether a table, `schema.name`, is there, and nothing was ever written to it."""
    loaded = _loaded(catalog, table)
    return loaded is not None and loaded.current_snapshot() is None


def has_columns(catalog: Catalog, table: str, columns: set[str]) -> bool:
    """Whether a table, `schema.name`, is there, with all of the columns."""
    loaded = _loaded(catalog, table)
    return loaded is not None and columns <= {field.name for field in loaded.schema().fields}


def has_rows_above(catalog: Catalog, table: str, batch: int) -> bool:
    """Whether some data file of a table, `schema.name`, may hold a row with `_batch` > `batch`."""
    return any(catalog.load_table(table).scan(row_filter=f"_batch > {batch}").plan_files())


def columns_at(catalog: Catalog, table: str, snapshot_id: int) -> list[str] | None:
    """The columns of a table, `schema.name`, as of a snapshot; None where the table or the snapshot is gone."""
    loaded = _loaded(catalog, table)
    if loaded is None or not loaded.snapshot_by_id(snapshot_id):
        return None
    return snapshot_columns(loaded, snapshot_id)
