"""The catalog of a source: the tables of a schema with columns, keys, checks, comments and the reader's rights."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from stack.source import Source

CATALOG = (Path(__file__).parent / "catalog.sql").read_text()
VIEWS = "vm"


class Column(BaseModel):
    """A column: `type` is the base type's name (`enum`, `other` for types of extensions), `declared` the full one."""

    position: int
    name: str
    type: str
    declared: str
    modifier: int
    not_null: bool
    comment: str | None
    may_read: bool
    is_indexed: bool
    domain_checks: list[str]


class Key(BaseModel):
    """A unique index over plain columns; the primary key comes first."""

    name: str
    is_primary: bool
    positions: list[int]


class Check(BaseModel):
    """A check constraint, as PostgreSQL prints it."""

    name: str
    definition: str
    is_valid: bool


class Relation(BaseModel):
    """A table, view, materialized view or foreign table; `rows` is below zero if nobody has counted."""

    # "schema" is a name of pydantic's.
    namespace: str
    name: str
    kind: str
    is_partition: bool
    comment: str | None
    rows: float
    may_use_schema: bool
    columns: list[Column]
    keys: list[Key]
    checks: list[Check]

    @property
    def full_name(self) -> str:
        """Return the name with its schema, for people."""
        return f"{self.namespace}.{self.name}"


def read_relations(source: Source, schema: str, name: str | None = None) -> list[Relation]:
    """Return the tables of a schema, or the one of this name, from one query."""
    rows = source.query(CATALOG, {"schema": schema, "name": name})
    return [Relation(**row) for (row,) in rows]


def similar_tables(source: Source, name: str) -> list[str]:
    """Return `schema.name` of each table whose name is the given one, regardless of case."""
    rows: list[tuple[Any, ...]] = source.query(
        "select nspname || '.' || relname from pg_class inner join pg_namespace as n on n.oid = relnamespace"
        " where relkind in ('r', 'p', 'v', 'm', 'f') and lower(relname) = lower(%(name)s) order by 1",
        {"name": name},
    )
    return [full_name for (full_name,) in rows]
