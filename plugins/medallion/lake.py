"""The lake's tables: as Airflow's assets, and what their metadata says of a snapshot, read by pyiceberg."""

from typing import Any

from airflow.sdk import Asset


def table_asset(name: str) -> Asset:
    """A table of the lake, `schema.name`, for what is scheduled by its changes."""
    return Asset(name=f"lake.{name}", uri=f"iceberg://lake/{name.replace('.', '/')}")


def snapshot_columns(table: Any, snapshot_id: int) -> list[str]:
    """The columns that a snapshot of a loaded table has: one that was added since can't be read from it."""
    return [field.name for field in table.schemas()[table.snapshot_by_id(snapshot_id).schema_id].fields]


def _loaded(catalog: Any, table: str) -> Any | None:
    # Here, for what draws the DAGs imports this module.
    from pyiceberg.exceptions import NoSuchTableError

    try:
        return catalog.load_table(table)
    except NoSuchTableError:
        return None


def is_empty(catalog: Any, table: str) -> bool:
    """Whether a table, `schema.name`, is there, and nothing was ever written to it."""
    loaded = _loaded(catalog, table)
    return loaded is not None and loaded.current_snapshot() is None


def columns_at(catalog: Any, table: str, snapshot_id: int) -> list[str] | None:
    """The columns of a table, `schema.name`, as of a snapshot; None where the table or the snapshot is gone."""
    loaded = _loaded(catalog, table)
    if loaded is None or not loaded.snapshot_by_id(snapshot_id):
        return None
    return snapshot_columns(loaded, snapshot_id)
