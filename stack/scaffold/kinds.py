"""How PostgreSQL's types are declared in silver, and what a rule may compare."""

from dataclasses import dataclass

from stack.scaffold.catalog import Column

# Type of PostgreSQL -> data type in silver. Every other type becomes text.
DATA_TYPES = {
    "int2": "integer",
    "int4": "integer",
    "int8": "bigint",
    "oid": "bigint",
    "float4": "real",
    "float8": "double",
    "bool": "boolean",
    "date": "date",
    "timestamp": "timestamp",
    "timestamptz": "timestamptz",
}
MAX_PRECISION = 38
FREE_TEXT = {"text", "varchar", "bpchar", "name"}  # an empty value is null in silver
CURSOR_TYPES = {"timestamptz", "timestamp", "date", "int2", "int4", "int8"}
# Usual names of cursors, the most usual first, in lower case without blanks and underscores.
CURSOR_NAMES = [
    f"{word}{suffix}"
    for word in ("updated", "lastupdate", "lastupdated", "modified", "lastmodified", "changed", "lastchanged")
    for suffix in ("at", "", "on", "date", "time", "datetime", "timestamp", "ts")
] + [
    f"{word}{suffix}"
    for word in ("update", "modification", "change")
    for suffix in ("date", "time", "datetime", "timestamp", "ts", "dt")
]
# Families of types whose values compare in Spark as in PostgreSQL.
FAMILIES = {
    **dict.fromkeys(("int2", "int4", "int8", "oid", "float4", "float8", "numeric"), "number"),
    **dict.fromkeys(("text", "varchar", "bpchar", "name", "enum", "uuid"), "text"),
    **{name: name for name in ("bool", "date", "timestamp", "timestamptz")},
}


@dataclass(frozen=True)
class DataType:
    """A data type in silver, and the advice that belongs to it."""

    name: str
    advice: str = ""


def data_type(column: Column) -> DataType:
    """Return how silver declares a column of the source."""
    if column.type != "numeric":
        return DataType(DATA_TYPES.get(column.type, "text"))
    if column.modifier >= 4:
        precision = (column.modifier - 4) >> 16 & 0xFFFF
        scale = ((column.modifier - 4 & 0x7FF) ^ 1024) - 1024
        if precision <= MAX_PRECISION and 0 <= scale <= precision:
            return DataType(f"decimal({precision},{scale})")
    return DataType(
        "text", f'{column.declared}: declare data_type "decimal(p,s)" with digits that hold every value'
    )


def cursor_name(name: str) -> str:
    """Return a column's name in the spelling of CURSOR_NAMES."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
