"""Read a copy of the source into DuckDB, and compute the tables of silver and gold from it."""

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
    """The expected tables. Each is a list of tuples, ordered by all columns.

    The values are int, str, date, Decimal with the column's decimal places, float (coordinates), or datetime without a
    time zone: `updated_at` is in UTC, other times are as in the source.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Compute all tables from those in the schema `source` of `connection`."""
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
        """Return the column names of an entity, a dimension, `fact_sales` or a gold table, in their order."""
        return list(self._table(table).columns)

    def rows(self, table: str) -> list[Row]:
        """Return the rows of an entity, a dimension, `fact_sales` or a gold table."""
        return self._table(table).fetchall()

    def diff(self, table: str, actual_rows: Iterable[Sequence[Any]]) -> str:
        """Return how `actual_rows`, with the columns `columns(table)`, differ from the table; empty if they do not."""
        key = len(ENTITIES[table].key) if table in ENTITIES else 2 if table in TWO_COLUMN_KEYS else 1
        return compare(self.rows(table), actual_rows, self.columns(table), key)

    def _judged(self, column: str, condition: str) -> list[tuple[str, str, Any]]:
        """Return (entity, canonical raw key, `column`) of all versions that meet `condition`, sorted."""
        versions = [
            (entity, canonical_key(raw_key), value)
            for entity in ENTITIES
            for raw_key, value in self._connection.sql(
                f"select raw_key, {column} from judged.{entity} where {condition}"
            ).fetchall()
        ]
        return sorted(versions)

    def quarantine(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """Return (entity, canonical raw key, sorted rules) of the rejected rows that are the newest of their key."""
        rejected = self._judged("rules", "latest and rules != []")
        return [(entity, key, tuple(rules)) for entity, key, rules in rejected]

    def flags(self) -> list[tuple[str, str, str]]:
        """Return (entity, canonical raw key, flag) for each flag of the accepted rows."""
        return self._judged("unnest(flags)", "latest and rules = []")

    def ambiguous_keys(self) -> list[tuple[str, str]]:
        """Return (entity, canonical raw key) of the keys that have several newest rows.

        These rows have the same converted key and the same `updated_at`, but differ in other columns.
        """
        return [(entity, key) for entity, key, _ in self._judged("ambiguous", "latest and ambiguous")]


def empty_source() -> duckdb.DuckDBPyConnection:
    """Return a DuckDB database in memory, with the macros for conversion and an empty schema `source`."""
    connection = duckdb.connect()
    connection.execute("create schema source")
    connection.execute((SQL / "macros.sql").read_text())
    return connection


def _read_csv(connection: duckdb.DuckDBPyConnection, path: Path) -> duckdb.DuckDBPyRelation:
    """Read a CSV file with all columns as text. As in COPY, an empty value is null, and a quoted one the empty text."""
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
    """Compute the tables from Olist's nine CSV files in `folder`, with the `updated_at` that the shop's loader sets."""
    connection = empty_source()
    connection.execute("create schema csv")
    for entity in ENTITIES:
        name = entity if entity.endswith("_translation") else f"olist_{entity}_dataset"
        _read_csv(connection, folder / f"{name}.csv").create(f"csv.{entity}")
    connection.execute((SQL / "load_csv.sql").read_text())
    return Expected(connection)


def expected_from_source(dsn: str) -> Expected:
    """Compute the tables from the nine tables of the schema `sales`, which are read in one snapshot.

    `dsn`: a PostgreSQL URL or connection string of a role that may read the tables. Raises psycopg2.Error.
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
