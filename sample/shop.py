"""The shop's database: connect to it, check that it is the shop's, and empty it."""

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click
import psycopg2
from psycopg2.extensions import connection, cursor, parse_dsn
from rich.console import Console
from rich.table import Table

# Table -> its natural key. A table comes after the tables to which its rows refer.
TABLES = {
    "geolocation": ("geolocation_id",),
    "product_category_name_translation": ("product_category_name",),
    "products": ("product_id",),
    "sellers": ("seller_id",),
    "customers": ("customer_id",),
    "orders": ("order_id",),
    "order_items": ("order_id", "order_item_id"),
    "order_payments": ("order_id", "payment_sequential"),
    "order_reviews": ("review_id", "order_id"),
}
# The comment by which schema.sql marks each table as the shop's.
MARKER = "Sample shop of medallion: its commands may replace this table."


def sql(name: str) -> str:
    """Return the text of the SQL file `name` of this package."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def connect() -> connection:
    """Connect to the database in the environment variable SOURCE_URL, with the time zone UTC.

    Raises click.ClickException if STACK_SOURCE_URL is set, or if SOURCE_URL is not set or malformed. Raises
    psycopg2.OperationalError if the database does not answer.
    """
    if os.environ.get("STACK_SOURCE_URL"):
        raise click.ClickException(
            "STACK_SOURCE_URL is set: the stack only reads that database, and the shop writes nothing there. "
            "Unset it to fill the shop in the stack's own database."
        )
    url = os.environ.get("SOURCE_URL")
    if not url:
        raise click.ClickException(
            "SOURCE_URL is not set. It is the shop's address, postgresql://user:password@host:port/shop. "
            'In the project\'s folder, eval "$(make -s env)" sets it.'
        )
    if not is_well_formed(url):
        raise click.ClickException(
            "SOURCE_URL is malformed. It must be postgresql://user:password@host:port/shop, "
            "with special characters of the password percent-encoded."
        )
    return psycopg2.connect(
        url, connect_timeout=10, application_name="sample", options="-c TimeZone=UTC -c DateStyle=ISO"
    )


def is_well_formed(url: str) -> bool:
    """Return whether libpq can parse `url` and finds no part of the password in the host, port or database.

    If a / or @ in the password is not escaped, libpq reads a part of the password as the host, port or database. Error
    messages contain these, so they would reveal that part.
    """
    try:
        parts = parse_dsn(url)
    except psycopg2.ProgrammingError:
        return False
    ports = parts.get("port", "0").replace(",", "")  # a list if there are several hosts
    return ports.isdigit() and "@" not in parts.get("host", "") + parts.get("dbname", "")


@contextmanager
def clear_errors() -> Iterator[None]:
    """Raise the database's errors as click.ClickException, which shows a message without a traceback."""
    try:
        yield
    except psycopg2.errors.RaiseException as error:
        raise click.ClickException(
            f"{error.diag.message_primary}. Nothing was changed. {error.diag.message_hint}"
        ) from error
    except psycopg2.errors.UndefinedTable as error:
        raise click.ClickException(
            f"{error.diag.message_primary}. Fill the shop first: load or generate."
        ) from error
    except psycopg2.Error as error:
        raise click.ClickException(f"The shop at SOURCE_URL failed: {str(error).strip()}") from error


@contextmanager
def transaction() -> Iterator[cursor]:
    """Yield a cursor in a transaction, which is committed at the end, or rolled back after an error.

    Raises click.ClickException if the database does not answer, has no tables yet, or refuses a statement.
    """
    with clear_errors(), closing(connect()) as shop, shop, shop.cursor() as cur:
        yield cur


def is_shop(cur: cursor) -> bool:
    """Return whether this is the shop's database: it has some of the nine tables, and all that it has are marked."""
    marks = rows(
        cur,
        "select obj_description(oid, 'pg_class') = %s from pg_class"
        " where relnamespace = to_regnamespace('sales') and relname = any(%s)",
        (MARKER, list(TABLES)),
    )
    return bool(marks) and all(is_marked for (is_marked,) in marks)


def is_empty(cur: cursor) -> bool:
    """Return whether the database has no table, so that the shop may be created in it."""
    query = "select from pg_stat_user_tables where schemaname !~ '^pg_temp_'"
    return rows(cur, f"select not exists ({query})") == [(True,)]


def state(cur: cursor) -> str:
    """Return `filled` if this is the shop and has orders, `empty` if the shop may be filled here, else `foreign`."""
    if not is_shop(cur):
        return "empty" if is_empty(cur) else "foreign"
    if rows(cur, "select to_regclass('sales.orders')") == [(None,)]:
        return "empty"
    return "filled" if rows(cur, "select from sales.orders limit 1") else "empty"


def require_shop(cur: cursor) -> None:
    """Raise click.ClickException unless this is the shop's database, or an empty database."""
    if state(cur) == "foreign":
        raise click.ClickException(
            f'The database "{cur.connection.info.dbname}" is not the sample shop: its tables lack the shop\'s marker. '
            "Nothing was changed. Name the shop's database in SOURCE_URL."
        )


def make_empty(cur: cursor, replace: bool) -> None:
    """Recreate the nine tables without rows, with the columns of schema.sql and the identity column starting at 1.

    Raises click.ClickException if the database is not the shop's, or if it has rows and `replace` is false.
    """
    cur.execute(sql("schema.sql"))
    filled = [table for table in TABLES if rows(cur, f"select 1 from sales.{table} limit 1")]
    if filled and not replace:
        raise click.ClickException(
            f"The shop holds rows already ({', '.join(filled)}). Nothing was changed; --replace empties the shop."
        )
    # Drop the tables instead of truncating them, because columns may have been added or moved.
    cur.execute(f"drop table {', '.join(f'sales.{table}' for table in TABLES)}")
    cur.execute(sql("schema.sql"))


def rows(cur: cursor, query: str, params: Any = None) -> list[tuple[Any, ...]]:
    """Run `query` and return its rows."""
    cur.execute(query, params)
    return cur.fetchall()


def show(title: str) -> None:
    """Analyze the nine tables, which updates PostgreSQL's statistics, and print their row counts."""
    with transaction() as cur:
        for table in TABLES:
            cur.execute(f"analyze sales.{table}")
        counts = {
            f"sales.{table}": rows(cur, f"select count(*) from sales.{table}")[0][0] for table in TABLES
        }
    print_counts(title, "table", counts)


def print_counts(title: str, header: str, counts: Mapping[str, int]) -> None:
    """Print a table of names and their numbers of rows. `header`: the title of the column with the names."""
    summary = Table(header, title=title)
    summary.add_column("rows", justify="right")
    for name, count in counts.items():
        summary.add_row(name, f"{count:,}")
    Console().print(summary)
