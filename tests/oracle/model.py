"""Reads a copy of the source into DuckDB and computes every table of the lake from it."""

import csv
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import psycopg2

from .compare import Row, canonical_key, compare
from .entities import ENTITIES, judged

SQL = Path(__file__).parent / "sql"
MODELS = ("fact_sales", "dim_customers", "dim_products", "dim_sellers", "dim_geolocation")
GOLD = (
    "sales_by_category_month",
    "sales_by_day",
    "customer_analytics",
    "product_analytics",
    "seller_analytics",
    "delivery_by_state_month",
)
TWO_COLUMN_KEYS = ("fact_sales", "sales_by_category_month", "delivery_by_state_month")


class Expected:
    """The expected tables, as lists of tuples in the order of their key.

    Values are Decimal with the column's places, int, float (coordinates), str, date, or datetime without
    zone (as the source wrote it; `updated_at` in UTC).
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Compute everything from the tables of `connection`'s schema `source`."""
        self._connection = connection
        connection.execute("create schema stg; create schema judged")
        for entity, spec in ENTITIES.items():
            connection.execute(f"create table judged.{entity} as {judged(entity)}")
            connection.execute(
                f"create table stg.{entity} as select {', '.join(spec.names)}, updated_at "
                f"from judged.{entity} where latest and rules = []"
            )
        for table in (*MODELS, "sales", *GOLD):
            connection.execute(f"create table {table} as {(SQL / f'{table}.sql').read_text()}")

    def _table(self, table: str) -> duckdb.DuckDBPyRelation:
        name = f"stg.{table}" if table in ENTITIES else table
        return self._connection.sql(f"select * from {name} order by all")

    def columns(self, table: str) -> list[str]:
        """The column names, in order, of an entity, a dimension, `fact_sales` or a gold table."""
        return list(self._table(table).columns)

    def rows(self, table: str) -> list[Row]:
        """The rows of an entity, a dimension, `fact_sales` or a gold table."""
        return self._table(table).fetchall()

    def diff(self, table: str, actual_rows: Iterable[Sequence[Any]]) -> str:
        """How `actual_rows`, with the columns of `columns(table)`, differ from it; empty if equal."""
        key = len(ENTITIES[table].key) if table in ENTITIES else 2 if table in TWO_COLUMN_KEYS else 1
        return compare(self.rows(table), actual_rows, self.columns(table), key)

    def _judged(self, column: str, condition: str) -> list[tuple[str, str, Any]]:
        """Entity, canonical raw key and `column` of the judged versions that meet `condition`, sorted."""
        versions = [
            (entity, canonical_key(raw_key), value)
            for entity in ENTITIES
            for raw_key, value in self._connection.sql(
                f"select raw_key, {column} from judged.{entity} where {condition}"
            ).fetchall()
        ]
        return sorted(versions)

    def quarantine(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """(entity, raw key as canonical JSON, broken rules sorted) of the rejected rows that no newer row replaces."""
        rejected = self._judged("rules", "latest and rules != []")
        return [(entity, key, tuple(rules)) for entity, key, rules in rejected]

    def flags(self) -> list[tuple[str, str, str]]:
        """(entity, raw key as canonical JSON, flag) of the accepted rows."""
        return self._judged("unnest(flags)", "latest and rules = []")

    def ambiguous_keys(self) -> list[tuple[str, str]]:
        """(entity, raw key as canonical JSON) of the keys whose winner shares its rank with another row.

        The other row has the same parsed key and the same `updated_at`, and differs elsewhere.
        """
        return [(entity, key) for entity, key, _ in self._judged("ambiguous", "latest and ambiguous")]


def empty_source() -> duckdb.DuckDBPyConnection:
    """A DuckDB in memory that holds the parsing macros and an empty schema `source`."""
    connection = duckdb.connect()
    connection.execute("create schema source")
    connection.execute((SQL / "macros.sql").read_text())
    return connection


def _read_csv(connection: duckdb.DuckDBPyConnection, path: Path) -> duckdb.DuckDBPyRelation:
    """The CSV's columns as text: an unquoted empty value is null, a quoted one the empty text, as in COPY."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file))
    return connection.sql(
        """
        from read_csv(
            $path, columns = $columns, header = true, auto_detect = false,
            delim = ',', quote = '"', escape = '"', nullstr = '', allow_quoted_nulls = false, parallel = false
        )
        """,
        params={"path": str(path), "columns": dict.fromkeys(header, "varchar")},
    )


def expected_from_csv(folder: Path) -> Expected:
    """Compute from Olist's nine CSV files in `folder`, with the `updated_at` that the loader gives them."""
    connection = empty_source()
    connection.execute("create schema csv")
    for entity in ENTITIES:
        name = entity if entity.endswith("_translation") else f"olist_{entity}_dataset"
        _read_csv(connection, folder / f"{name}.csv").create(f"csv.{entity}")
    connection.execute((SQL / "load_csv.sql").read_text())
    return Expected(connection)


def expected_from_source(dsn: str) -> Expected:
    """Compute from the nine tables of the schema `sales`, read in one snapshot.

    `dsn` is a PostgreSQL URL or connection string of a role that may read them. Raises psycopg2.Error.
    """
    connection = empty_source()
    with closing(psycopg2.connect(dsn)) as source, tempfile.TemporaryDirectory() as folder:
        source.set_session(isolation_level="REPEATABLE READ", readonly=True)
        source.set_client_encoding("UTF8")
        with source.cursor() as cursor:
            cursor.execute("set time zone 'UTC'")
            for entity, spec in ENTITIES.items():
                path = Path(folder) / f"{entity}.csv"
                with path.open("wb") as file:
                    cursor.copy_expert(
                        f"copy (select {', '.join(spec.names)}, updated_at::timestamp as updated_at "
                        f"from sales.{entity}) to stdout (format csv, header)",
                        file,
                    )
                _read_csv(connection, path).create(f"source.{entity}")
                connection.execute(f"alter table source.{entity} alter updated_at type timestamp")
    return Expected(connection)
