"""The shape of PostgreSQL's gold tables: their columns and keys, what reads them, and how a contract changes them."""

from dataclasses import dataclass

from psycopg import DataError

from medallion.engines.postgres import Cursor, literal, quote
from medallion.names import GOLD_SCHEMA
from medallion.project.contracts import GoldTable, gold_tables

# Start of the comment on a table or column that is kept or not altered only because other objects read it.
MARK = "medallion: "
# Indexes hash these types, because a value may be longer than the 2,700 bytes that a B-tree takes.
HASHED_TYPES = ("text", "character", "bytea")


@dataclass(frozen=True)
class PublishedTable:
    """A table of the schema `gold`.

    columns: name -> type. key: the columns of its unique index. is_own: whether the publisher owns it. comment: the
    comment on the table. comments: column -> the comment on it.
    """

    columns: dict[str, str]
    key: set[str]
    is_own: bool
    comment: str
    comments: dict[str, str]

    def has_shape_of(self, table: GoldTable) -> bool:
        """Return whether the table has the columns, types and key of the contract, and nothing else."""
        return self.columns == table.columns and self.key == set(table.key)


@dataclass(frozen=True)
class Shape:
    """The shape that a gold table gets, as close to its contract as its readers allow.

    types: column of the contract -> type. dropped, retyped, added: the columns to change. kept_columns: column that
    left the contract -> the objects that read it. newly_kept: columns of kept_columns that are not marked yet.
    kept_types: column that keeps an earlier type -> the objects that read it. has_new_key: whether the unique index is
    to be replaced.
    """

    table: GoldTable
    types: dict[str, str]
    dropped: list[str]
    retyped: list[str]
    added: list[str]
    kept_columns: dict[str, set[str]]
    newly_kept: list[str]
    kept_types: dict[str, set[str]]
    has_new_key: bool

    @property
    def changes(self) -> bool:
        """Return whether the table is to be altered."""
        return bool(self.dropped or self.retyped or self.added or self.newly_kept or self.has_new_key)

    @property
    def index_expressions(self) -> list[str]:
        """Return the key as index expressions; long values are hashed."""
        return [
            f"md5({quote(column)}{'::text' if self.types[column].startswith('character(') else ''})"
            if self.types[column].startswith(HASHED_TYPES)
            else quote(column)
            for column in self.table.key
        ]


# The objects that read a table, or one column of it, by their names.
Dependents = dict[tuple[str, str | None], set[str]]


def published_tables(cursor: Cursor) -> dict[str, PublishedTable]:
    """Return the tables of the schema `gold`, by name."""
    cursor.execute(
        """
        select
            relname,
            jsonb_object_agg(attname, format_type(atttypid, atttypmod)) as columns,
            coalesce(
                (
                    select jsonb_agg(key_column.attname)
                    from pg_depend
                    inner join pg_attribute as key_column
                        on key_column.attrelid = refobjid and key_column.attnum = refobjsubid
                    where
                        classid = 'pg_class'::regclass and refobjid = pg_class.oid and refobjsubid > 0
                        and objid = to_regclass(format('%%I.%%I', %(schema)s, relname || '_key'))
                ),
                '[]'
            ) as key,
            pg_get_userbyid(relowner) = current_user as is_own,
            coalesce(obj_description(pg_class.oid, 'pg_class'), '') as comment,
            jsonb_object_agg(attname, coalesce(col_description(pg_class.oid, attnum), '')) as comments
        from pg_class
        inner join pg_attribute on attrelid = pg_class.oid
        where relnamespace = %(schema)s::regnamespace and relkind = 'r' and attnum > 0 and not attisdropped
        group by pg_class.oid, relname, relowner
        """,
        {"schema": GOLD_SCHEMA},
    )
    return {
        row.relname: PublishedTable(row.columns, set(row.key), row.is_own, row.comment, row.comments)
        for row in cursor.fetchall()
    }


def tables_in_shape(cursor: Cursor) -> set[str]:
    """Return the gold tables that are published in the shape of their contracts."""
    present = published_tables(cursor)
    return {
        table.name
        for table in gold_tables()
        if table.name in present and present[table.name].has_shape_of(table)
    }


def read_dependents(cursor: Cursor) -> Dependents:
    """Return the objects that read each column and each table (column None) of the schema `gold`."""
    cursor.execute(
        """
        select
            relname as table_name,
            attname as column_name,
            coalesce(ev_class::regclass::text, pg_describe_object(classid, objid, objsubid)) as dependent
        from pg_depend
        inner join pg_class on refobjid = pg_class.oid
        left join pg_attribute on attrelid = refobjid and attnum = refobjsubid and refobjsubid > 0
        left join pg_rewrite on classid = 'pg_rewrite'::regclass and objid = pg_rewrite.oid
        where refclassid = 'pg_class'::regclass and relnamespace = %s::regnamespace and deptype = 'n'
        """,
        (GOLD_SCHEMA,),
    )
    dependents: Dependents = {}
    for table, column, dependent in cursor.fetchall():
        for name in {column, None}:
            dependents.setdefault((table, name), set()).add(dependent)
    return dependents


def shape_of(table: GoldTable, published: PublishedTable | None, dependents: Dependents) -> Shape:
    """Return the shape of the contract, but keep columns that other objects read: neither drop nor alter them."""
    columns = published.columns if published else {}

    def readers(names: list[str]) -> dict[str, set[str]]:
        return {name: dependents[table.name, name] for name in names if (table.name, name) in dependents}

    left = [name for name in columns if name not in table.contract]
    differing = [
        name for name, data_type in table.columns.items() if columns.get(name, data_type) != data_type
    ]
    kept_columns, kept_types = readers(left), readers(differing)
    return Shape(
        table=table,
        types=table.columns | {name: columns[name] for name in kept_types},
        dropped=[name for name in left if name not in kept_columns],
        retyped=[name for name in differing if name not in kept_types],
        added=[name for name in table.contract if name not in columns],
        kept_columns=kept_columns,
        newly_kept=[
            name for name in kept_columns if published and not published.comments[name].startswith(MARK)
        ],
        kept_types=kept_types,
        has_new_key=published is not None and published.key != set(table.key),
    )


def holds_staged_values(cursor: Cursor, shape: Shape, staged_rows: str) -> bool:
    """Return whether the columns that keep an earlier type hold each staged value unchanged."""
    differs = " or ".join(
        f"{quote(name)}::{shape.types[name]}::{shape.table.columns[name]} is distinct from {quote(name)}"
        for name in shape.kept_types
    )
    try:
        with cursor.connection.transaction():
            cursor.execute(f"select from {staged_rows} where not _deleted and ({differs}) limit 1".encode())
            return not cursor.fetchall()
    except DataError:
        return False


def comment_on(cursor: Cursor, text: str | None, table: str, column: str | None = None) -> None:
    """Set the comment of a table of the schema `gold`, or of its column; None removes it."""
    path = ".".join(quote(name) for name in (GOLD_SCHEMA, table, column) if name)
    comment = literal(text) if text else "null"
    cursor.execute(f"comment on {'column' if column else 'table'} {path} is {comment}".encode())
