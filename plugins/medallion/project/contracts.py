"""The gold tables as their dbt contracts describe them. Publishing takes names and types of columns from here."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypedDict

from medallion.names import GOLD
from medallion.project.manifest import ManifestError, cached_per_manifest, model_nodes

# Types that a contract may use: Trino's name, and the name that PostgreSQL's `format_type` gives.
POSTGRES_TYPES = {
    "boolean": "boolean",
    "smallint": "smallint",
    "integer": "integer",
    "bigint": "bigint",
    "real": "real",
    "double": "double precision",
    "date": "date",
    "varchar": "text",
    "uuid": "uuid",
    "varbinary": "bytea",
    "json": "jsonb",
}
# Types with a length or a precision in brackets. Trino's `time` and `timestamp` without a precision have 3.
TEXT = re.compile(r"(varchar|char)\((\d+)\)")
DECIMAL = re.compile(r"decimal(?:\((\d+)(?:,(\d+))?\))?")
TIME = re.compile(r"(time|timestamp)(?:\(([0-6])\))?( with time zone)?")
MAX_DIGITS = 38
MAX_CHARACTERS = 10_485_760  # PostgreSQL's limit of varchar(n) and char(n)
ALL_TYPES = (
    *POSTGRES_TYPES,
    *("varchar(n)", "char(n)", "decimal(p, s)", "time(p)", "timestamp(p)", "timestamp(p) with time zone"),
)

BATCH_COLUMN = "_batch"  # bookkeeping of the lake, never published
DELETED_COLUMN = "_deleted"  # bookkeeping of the staging tables
PUBLICATION_TABLE = "publication"
# The unique index of a gold table has the table's name with this suffix. include/sql/publish uses the same suffix.
INDEX_SUFFIX = "_key"
MAX_NAME = 63  # bytes of a name in PostgreSQL
# The name of a gold table is shorter than MAX_NAME, because its staging tables append the batch and an attempt to it.
TABLE_NAME = re.compile(r"[a-z_][a-z0-9_]{0,44}")


class Staged(TypedDict):
    """XCom: the rows that are staged for each gold table.

    staging: suffix of the staging tables' names: the batch, and the attempt of the task that returned this.
    snapshots: table of the lake -> id of the snapshot to stage. columns: gold table -> columns of that snapshot.
    base_snapshots: table -> the snapshot that the table is compared with. A table without one is staged whole.
    base_batch: only rows above this batch are compared.
    """

    staging: str
    snapshots: dict[str, int]
    columns: dict[str, list[str]]
    base_snapshots: dict[str, int]
    base_batch: int


@dataclass(frozen=True)
class GoldTable:
    """The contract of a gold table, without the bookkeeping column `_batch`.

    key: the columns that identify a row. contract: column -> Trino's type, in the contract's order.
    """

    name: str
    key: list[str]
    contract: dict[str, str]

    @property
    def columns(self) -> dict[str, str]:
        """Return column -> PostgreSQL type, in the contract's order."""
        return {name: postgres_type(data_type) for name, data_type in self.contract.items()}


@cached_per_manifest("trino")
def gold_tables() -> list[GoldTable]:
    """Return the contracts of the gold layer.

    Raises ManifestError naming each model whose contract can't be published, or if the manifest is missing.
    """
    nodes = [node for node in model_nodes() if node["schema"] == GOLD]
    indexes = {f"{node['name']}{INDEX_SUFFIX}": node["name"] for node in nodes}
    faults = [f"Gold model {node['name']}{fault}" for node in nodes for fault in contract_faults(node)]
    faults += [
        f"Gold model {node['name']}: the index of the table {indexes[node['name']]} has that name in PostgreSQL."
        " Rename the file."
        for node in nodes
        if node["name"] in indexes
    ]
    if faults:
        raise ManifestError("\n".join([*faults, "Change the model's YAML and run `make manifest`."]))
    return [
        GoldTable(
            name=node["name"],
            key=key_of(node),
            contract={
                column["name"]: normal_type(column["data_type"])
                for column in node["columns"].values()
                if column["name"] != BATCH_COLUMN
            },
        )
        for node in nodes
    ]


def key_of(node: dict[str, Any]) -> list[str]:
    """Return the columns of a model's unique_key, which may be written as a single name."""
    key = node["config"].get("unique_key") or []
    return [key] if isinstance(key, str) else list(key)


def contract_faults(node: dict[str, Any]) -> Iterator[str]:
    """Yield the faults that keep a gold model from being published, each worded to follow the model's name."""
    columns = {
        name: column.get("data_type") for name, column in node["columns"].items() if name != BATCH_COLUMN
    }
    if not TABLE_NAME.fullmatch(node["name"]) or node["name"] == PUBLICATION_TABLE:
        yield (
            ": the name of a gold table has at most 45 of the characters a-z, 0-9 and `_`, and is not"
            f" `{PUBLICATION_TABLE}`, which is a table of the product. Rename the file."
        )
    if not columns:
        yield ": its YAML has no columns. List each with its name, data_type and description."
    if not key_of(node):
        yield ": it has no unique_key. Add `config: {unique_key: [column, …]}`, the columns that identify a row."
    for column in key_of(node):
        if column not in columns:
            yield f": its unique_key names {column}, which is not among its columns."
        elif columns[column] == "json":
            yield f", column {column}: json can't be in the unique_key. Use a varchar."
    for column, data_type in columns.items():
        if column != column.lower() or "." in column:
            yield f", column {column}: Trino has the names of columns in lower case only, and Iceberg without dots."
        if len(column.encode()) > MAX_NAME or column == DELETED_COLUMN:
            yield (
                f", column {column}: a name has at most {MAX_NAME} bytes and is not `{DELETED_COLUMN}`,"
                " which staging uses."
            )
        try:
            postgres_type(data_type or "")
        except ValueError:
            yield (
                f", column {column}: a contract can't have the type {data_type}. Use {', '.join(ALL_TYPES)},"
                " and cast the column in the model."
            )


def normal_type(data_type: str) -> str:
    """Return a type of Trino in lower case and with single blanks between words."""
    return re.sub(r"\s*([(),])\s*", r"\1", " ".join(data_type.lower().split())).replace(")with", ") with")


def postgres_type(trino_type: str) -> str:
    """Return a contract's type as PostgreSQL's `format_type` spells it. Raises ValueError if contracts can't use it."""
    name = normal_type(trino_type)
    if name in POSTGRES_TYPES:
        return POSTGRES_TYPES[name]
    if (text := TEXT.fullmatch(name)) and 1 <= int(text[2]) <= MAX_CHARACTERS:
        return f"{'character varying' if text[1] == 'varchar' else 'character'}({text[2]})"
    if decimal := DECIMAL.fullmatch(name):
        digits, places = int(decimal[1] or MAX_DIGITS), int(decimal[2] or 0)
        if 1 <= digits <= MAX_DIGITS and places <= digits:
            return f"numeric({digits},{places})"
    if (time := TIME.fullmatch(name)) and (time[1], time[3]) != ("time", " with time zone"):
        precision = time[2] or "3"
        return f"{time[1]}{'' if precision == '6' else f'({precision})'}{time[3] or ' without time zone'}"
    raise ValueError(name)


if __name__ == "__main__":
    # `make manifest` checks the contracts of the manifest that it has built.
    try:
        gold_tables()
    except ManifestError as error:
        sys.exit(str(error))
