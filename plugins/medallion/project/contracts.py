"""The gold tables as their dbt contracts describe them: the one place that publishing reads columns from."""

from dataclasses import dataclass
from functools import cache
from typing import TypedDict

from medallion.engines.postgres import Cursor
from medallion.project.manifest import model_nodes

# Trino's names of the types that a contract may use, as PostgreSQL's catalog spells them.
POSTGRES_TYPES = {
    "varchar": "text",
    "bigint": "bigint",
    "date": "date",
    "timestamp(6)": "timestamp without time zone",
    "double": "double precision",
}


class Staged(TypedDict):
    """What is staged of the gold tables, for PostgreSQL to apply: an XCom.

    staging: what the staging tables' names end with: the batch, and the try of the task that says this.
    snapshots: table of the lake -> id of the snapshot that is staged. columns: gold table -> those its snapshot has.
    base_snapshots: table -> the one that it differs from; staged whole without.
    """

    staging: str
    snapshots: dict[str, int]
    columns: dict[str, list[str]]
    base_snapshots: dict[str, int]


@dataclass(frozen=True)
class GoldTable:
    """What a contract says of a table, bookkeeping left out.

    key: what tells its rows apart. contract: column -> Trino's type, in the contract's order.
    """

    name: str
    key: list[str]
    contract: dict[str, str]

    @property
    def columns(self) -> dict[str, str]:
        """Column -> PostgreSQL type, in the contract's order."""
        return {name: postgres_type(data_type) for name, data_type in self.contract.items()}

    @property
    def index_expressions(self) -> list[str]:
        """The key in expressions that fit into an index, however long a text is: a B-tree takes 2,700 bytes."""
        return [f"md5({column})" if self.columns[column] == "text" else column for column in self.key]


@cache
def gold_tables() -> list[GoldTable]:
    """The models of the gold layer. Raises ManifestError where the manifest is missing."""
    return [
        GoldTable(
            name=node["name"],
            key=node["config"]["unique_key"],
            contract={
                column["name"]: column["data_type"]
                for column in node["columns"].values()
                if column["name"] != "_batch"
            },
        )
        for node in model_nodes()
        if node["schema"] == "gold"
    ]


def published_columns(cursor: Cursor) -> dict[str, dict[str, str]]:
    """What PostgreSQL has in the schema `gold`: table -> column -> type."""
    cursor.execute(
        """
        select relname, jsonb_object_agg(attname, format_type(atttypid, atttypmod)) as columns
        from pg_attribute
        inner join pg_class on pg_class.oid = attrelid
        where relnamespace = 'gold'::regnamespace and relkind = 'r' and attnum > 0 and not attisdropped
        group by relname
        """
    )
    return dict(cursor.fetchall())


def postgres_type(trino_type: str) -> str:
    """A contract's type as PostgreSQL's `format_type` spells it. Raises KeyError for one that no contract may use."""
    if trino_type.startswith("decimal"):
        return trino_type.replace("decimal", "numeric").replace(" ", "")
    return POSTGRES_TYPES[trino_type]
