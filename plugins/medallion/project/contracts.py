"""The gold tables as their dbt contracts describe them: the only place from which publishing takes columns."""

from dataclasses import dataclass
from functools import cache
from typing import TypedDict

from medallion.names import GOLD
from medallion.project.manifest import ManifestError, model_nodes

# Types that a contract may use: Trino's name, and the name that PostgreSQL's `format_type` gives.
POSTGRES_TYPES = {
    "varchar": "text",
    "bigint": "bigint",
    "date": "date",
    "timestamp(6)": "timestamp without time zone",
    "double": "double precision",
}
BATCH_COLUMN = "_batch"  # bookkeeping of the lake, never published


class Staged(TypedDict):
    """XCom: the rows that are staged for each gold table.

    staging: suffix of the staging tables' names: the batch, and the attempt of the task that returned this.
    snapshots: table of the lake -> id of the snapshot to stage. columns: gold table -> columns of that snapshot.
    base_snapshots: table -> the snapshot that it is compared with; a table without one is staged whole.
    base_batch: only rows above this batch are compared.
    """

    staging: str
    snapshots: dict[str, int]
    columns: dict[str, list[str]]
    base_snapshots: dict[str, int]
    base_batch: int


@dataclass(frozen=True)
class GoldTable:
    """The contract of a gold table, without bookkeeping.

    key: the columns that identify a row. contract: column -> Trino's type, in the contract's order.
    """

    name: str
    key: list[str]
    contract: dict[str, str]

    @property
    def columns(self) -> dict[str, str]:
        """Return column -> PostgreSQL type, in the contract's order."""
        return {name: postgres_type(data_type) for name, data_type in self.contract.items()}

    @property
    def index_expressions(self) -> list[str]:
        """Return the key as index expressions, with texts hashed: a B-tree takes at most 2,700 bytes per entry."""
        return [f"md5({column})" if self.columns[column] == "text" else column for column in self.key]


@cache
def gold_tables() -> list[GoldTable]:
    """Return the contracts of the gold layer.

    Raises ManifestError if the manifest is missing, or if a contract uses a type that can't be published.
    """
    tables = [
        GoldTable(
            name=node["name"],
            key=node["config"]["unique_key"],
            contract={
                column["name"]: column["data_type"]
                for column in node["columns"].values()
                if column["name"] != BATCH_COLUMN
            },
        )
        for node in model_nodes()
        if node["schema"] == GOLD
    ]
    for table in tables:
        for column, data_type in table.contract.items():
            try:
                postgres_type(data_type)
            except KeyError:
                raise ManifestError(
                    f"Gold model {table.name}, column {column}: a contract can't have the type {data_type}."
                    f" Use {', '.join(POSTGRES_TYPES)} or decimal(p, s), cast the column in the model, and run"
                    " `make manifest`."
                ) from None
    return tables


def postgres_type(trino_type: str) -> str:
    """Return a contract's type as PostgreSQL's `format_type` spells it. Raises KeyError if contracts can't use it."""
    if trino_type.startswith("decimal"):
        return trino_type.replace("decimal", "numeric").replace(" ", "")
    return POSTGRES_TYPES[trino_type]
