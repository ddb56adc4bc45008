"""The Airflow assets that other DAGs may wait for."""

from airflow.sdk import Asset

GOLD_ASSET = Asset(name="gold", uri="medallion://gold")  # the published gold tables


def table_asset(table: str) -> Asset:
    """Return the asset of a table of the lake, `schema.name`."""
    return Asset(name=f"lake.{table}", uri=f"iceberg://lake/{table.replace('.', '/')}")
