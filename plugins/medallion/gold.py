"""The gold tables as their dbt contracts describe them: the one place that publishing reads columns from."""

import json
from dataclasses import dataclass
from functools import cache

from medallion.settings import DBT_PROJECT

# Trino's names of the types that a contract may use, in PostgreSQL.
POSTGRES_TYPES = {"varchar": "text", "bigint": "bigint", "date": "date", "timestamp(6)": "timestamp", "double": "double precision"}


@dataclass(frozen=True)
class GoldTable:
    """columns: name -> PostgreSQL type, in the contract's order, bookkeeping left out; key: the primary key."""

    name: str
    key: list[str]
    columns: dict[str, str]
    description: str


@cache
def gold_tables() -> list[GoldTable]:
    """The models of the gold layer, by name.

    Raises FileNotFoundError, saying how to build it, where the manifest is missing.
    """
    return [
        GoldTable(
            name=node["name"],
            key=node["config"]["unique_key"],
            columns={
                column["name"]: postgres_type(column["data_type"])
                for column in node["columns"].values()
                if column["name"] != "_batch"
            },
            description=node["description"],
        )
        for node in manifest()["nodes"].values()
        if node["resource_type"] == "model" and node["schema"] == "gold"
    ]


@cache
def manifest() -> dict:
    path = DBT_PROJECT / "target" / "trino" / "manifest.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing: build it with `make manifest`") from None


def postgres_type(trino_type: str) -> str:
    if trino_type.startswith("decimal"):
        return trino_type.replace("decimal", "numeric")
    return POSTGRES_TYPES[trino_type]
