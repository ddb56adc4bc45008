"""The Airflow assets that other DAGs may wait for."""

from airflow.sdk import Asset

from medallion.names import GOLD_SCHEMA

GOLD_ASSET = Asset(name=GOLD_SCHEMA, uri=f"medallion://{GOLD_SCHEMA}")  # the published gold tables


def table_asset(table: str) -> Asset:
    """Return the asset of a table of the lake, `schema.name`."""
    return Asset(name=f"lake.{table}", uri=f"iceberg://lake/{table.replace('.', '/')}")
