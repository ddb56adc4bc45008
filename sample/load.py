"""Load the nine CSV files of the Olist data set into the shop."""

import codecs
import csv
import re
from pathlib import Path
from typing import BinaryIO

import click
import psycopg2
from psycopg2.extensions import cursor
from rich.progress import track

from sample import shop


def file_of(table: str) -> str:
    """Return the name of Olist's CSV file with the rows of `table`."""
    return f"{table}.csv" if table.endswith("_translation") else f"olist_{table}_dataset.csv"


def load(folder: Path, replace: bool) -> None:
    """Load the nine CSV files in `folder` in one transaction.

    Values are loaded unchanged; load.sql computes `updated_at` (UTC).

    Raises click.ClickException, and changes nothing, if a file is missing or unreadable, has wrong columns, a broken
    line or another encoding than UTF-8; the message names the file, and the line if there is one. Raises it also if the
    shop has rows already and `replace` is false.
    """
    missing = [file_of(table) for table in shop.TABLES if not (folder / file_of(table)).is_file()]
    if missing:
        raise click.ClickException(
            f"{folder} lacks {', '.join(missing)}. Nothing was loaded: all nine files of the data set are needed."
        )
    with shop.transaction() as cur:
        shop.make_empty(cur, replace)
        for table in track(shop.TABLES, "Reading the CSV files"):
            stage(cur, table, folder / file_of(table))
        cur.execute(shop.sql("load.sql"))
    shop.show(f"Loaded from {folder}")


def stage(cur: cursor, table: str, path: Path) -> None:
    """Copy a CSV file into the new temporary table stage_<table>.

    The table has the columns of `table` except `updated_at` and `geolocation_id`, which the file does not have.
    """
    cur.execute(f"create temp table stage_{table} (like sales.{table}) on commit drop")
    cur.execute(f"alter table stage_{table} drop updated_at, drop if exists geolocation_id")
    cur.execute(f"select * from stage_{table}")
    columns = [column.name for column in cur.description or ()]
    try:
        with path.open("rb") as file:
            header = read_header(file)
            if sorted(header) != sorted(columns):
                raise ValueError(
                    f"line 1: the columns are {', '.join(header)}; they must be {', '.join(columns)}"
                )
            cur.copy_expert(
                f"copy stage_{table} ({', '.join(header)}) from stdin (format csv, header, encoding 'utf8')",
                file,
            )
    except (OSError, ValueError) as error:
        raise click.ClickException(
            f"{path}: {error}. Nothing was loaded: fix the file, and load again."
        ) from error
    except psycopg2.DataError as error:
        line = re.search(r"line \d+", error.diag.context or "")
        where = f"{line.group()}: " if line else ""
        raise click.ClickException(
            f"{path}: {where}{error.diag.message_primary}. Nothing was loaded: fix the file (CSV in UTF-8), and load"
            " again."
        ) from error


def read_header(file: BinaryIO) -> list[str]:
    """Return the column names in the first line. Move `file` to its start, or behind its byte-order mark if any."""
    line = file.readline(10_000)
    start = len(codecs.BOM_UTF8) if line.startswith(codecs.BOM_UTF8) else 0
    file.seek(start)
    return next(csv.reader([line[start:].decode(errors="replace")]), [])
