"""The catalog of a source: the tables of a schema with columns, keys, checks, comments and the reader's rights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from psycopg import sql
from pydantic import BaseModel

from stack.build import DBT
from stack.source import Source

CATALOG = (Path(__file__).parent / "catalog.sql").read_text()
# The product's macros: one queries the source's catalog, and knows the names that bronze reserves.
MACROS = Environment(  # noqa: S701, SQL is not HTML
    loader=FileSystemLoader(DBT / "macros" / "medallion"), undefined=StrictUndefined
)
MACROS.globals["postgres_literal"] = sql.quote  # in dbt a macro of this name
VIEWS = "vm"


class Column(BaseModel):
    """A column of a table.

    type: name of the base type; `enum` for enumerations, `other` for types of extensions.
    declared: the declared type, with its length or precision.
    is_reserved: whether bronze has a bookkeeping column of that name.
    """

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
    is_reserved: bool = False


class Key(BaseModel):
    """A unique index over plain columns. In a list of keys the primary key comes first."""

    name: str
    is_primary: bool
    positions: list[int]


class Check(BaseModel):
    """A check constraint, as PostgreSQL prints it."""

    name: str
    definition: str
    is_valid: bool


class Relation(BaseModel):
    """A table, view, materialized view or foreign table; `rows` is below zero if PostgreSQL never counted them."""

    # This is not called `schema`, because pydantic uses that name itself.
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
    """Return all tables of a schema, or only the one called `name`. Sends two queries."""
    relations = [Relation(**row) for (row,) in source.query(CATALOG, {"schema": schema, "name": name})]
    reserved = reserved_columns(source, relations)
    for relation in relations:
        for column in relation.columns:
            column.is_reserved = (relation.name, column.name) in reserved
    return relations


def reserved_columns(source: Source, relations: Sequence[Relation]) -> set[tuple[str, str]]:
    """Return table and name of the columns whose names bronze reserves for its bookkeeping."""
    if not relations:
        return set()
    module: Any = MACROS.get_template("source_catalog.sql").module
    catalog = module.source_catalog([(relation.namespace, relation.name) for relation in relations])
    rows = source.query(f"select table_name, name from ({catalog}) as columns where is_reserved")
    return {*rows}


def similar_tables(source: Source, name: str) -> list[str]:
    """Return `schema.name` of each table whose name is the given one, regardless of case."""
    rows: list[tuple[Any, ...]] = source.query(
        "select nspname || '.' || relname from pg_class inner join pg_namespace as n on n.oid = relnamespace"
        " where relkind in ('r', 'p', 'v', 'm', 'f') and lower(relname) = lower(%(name)s) order by 1",
        {"name": name},
    )
    return [full_name for (full_name,) in rows]
