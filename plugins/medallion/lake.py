"""The lake's tables: as Airflow's assets, and what their metadata says of a snapshot, read by pyiceberg."""

from typing import Any

from airflow.sdk import Asset


def table_asset(name: str) -> Asset:
    """A table of the lake, `schema.name`, for what is scheduled by its changes."""
    return Asset(name=f"lake.{name}", uri=f"iceberg://lake/{name.replace('.', '/')}")


def has_snapshot(catalog: Any, table: str, snapshot_id: int) -> bool:
    """Whether the table is there and can be read as of the snapshot."""
    # Here, for what draws the DAGs imports this module.
    from pyiceberg.exceptions import NoSuchTableError

    try:
        return catalog.load_table(table).snapshot_by_id(snapshot_id) is not None
    except NoSuchTableError:
        return False


def snapshot_columns(table: Any, snapshot_id: int) -> list[str]:
    """The columns that a snapshot of a loaded table has: one that was added since can't be read from it."""
    return [field.name for field in table.schemas()[table.snapshot_by_id(snapshot_id).schema_id].fields]
