"""The gold tables in PostgreSQL and their staging tables."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice

from airflow.sdk.exceptions import AirflowFailException
from psycopg.errors import LockNotAvailable, UndefinedTable
from tenacity import before_sleep_log, retry, retry_if_exception_type, stop_after_delay, wait_fixed

from medallion.engines.postgres import (
    BlockedError,
    Cursor,
    describe_lock_holders,
    literal,
    quote,
    render_sql,
    transaction,
)
from medallion.names import GOLD, GOLD_SCHEMA, STAGING_SCHEMA, lake_table
from medallion.project.contracts import Staged, gold_tables
from medallion.publish.shapes import (
    MARK,
    PublishedTable,
    Shape,
    comment_on,
    holds_staged_values,
    published_tables,
    read_dependents,
    shape_of,
)
from medallion.store.audits import tables_of_last_publication

log = logging.getLogger(__name__)

# If a contract changed, the transaction alters its gold table. That waits for the table's readers, and new readers wait
# for it. So the transaction stops waiting after a few seconds, and is tried again for most of a minute.
GIVE_WAY = timedelta(seconds=3)
try_again_when_blocked = retry(
    retry=retry_if_exception_type(BlockedError),
    wait=wait_fixed(5),
    stop=stop_after_delay(40),
    before_sleep=before_sleep_log(log, logging.INFO),
    reraise=True,
)
# The longest time that a publication spends on dropping staging tables.
CLEANING_SECONDS = 30


def apply_staged_rows(cursor: Cursor, staged: Staged) -> None:
    """Turn the gold tables into what is staged, in the caller's transaction.

    Logs a warning for each column and table that keeps an earlier shape because other objects read it. Raises
    AirflowFailException if a staging table is gone, or if a gold table is gone or was altered and only its changes are
    staged.
    """
    present, base = published_tables(cursor), staged["base_snapshots"]
    if lost := [
        table.name
        for table in gold_tables()
        if lake_table(GOLD, table.name) in base
        and not (table.name in present and present[table.name].has_shape_of(table))
    ]:
        raise AirflowFailException(
            f"gold.{', gold.'.join(lost)} is gone from PostgreSQL, or was altered, since this run was audited:"
            " clear its task `audit` with all downstream"
        )
    dependents = read_dependents(cursor)
    with require_staging():
        for table in gold_tables():
            published = present.get(table.name)
            shape = shape_of(table, published, dependents)
            if published and not check_kept(cursor, shape, published, staged["staging"]):
                continue
            cursor.execute(
                render_sql(
                    "publish/apply_staged.sql",
                    table=table,
                    staging=staged["staging"],
                    is_new=not published,
                    is_whole=lake_table(GOLD, table.name) not in base,
                    shape=shape,
                )
            )


def check_kept(cursor: Cursor, shape: Shape, published: PublishedTable, staging: str) -> bool:
    """Mark and report what keeps an earlier shape; return whether the staged rows fit into that shape."""
    name = shape.table.name
    comments: list[tuple[str | None, str]] = [(None, published.comment), *published.comments.items()]
    for column, text in comments:
        if text.startswith(MARK) and column not in shape.kept_columns and column not in shape.kept_types:
            comment_on(cursor, None, name, column)
    for column, readers in shape.kept_columns.items():
        mark(
            cursor,
            f"the column left the model and is null. {_list(readers)} reads it: drop or change that, and the next run"
            " drops the column.",
            name,
            column,
            published.comments[column],
        )
    fits = not shape.kept_types or holds_staged_values(cursor, shape, _staging_table(name, staging))
    for column, readers in shape.kept_types.items():
        mark(
            cursor,
            f"the column should be {shape.table.columns[column]}. {_list(readers)} reads it: drop or change that, and"
            " the next run changes the type."
            + (
                ""
                if fits
                else " The table keeps its rows until then, because the earlier type can't hold a value."
            ),
            name,
            column,
            published.comments[column],
        )
    return fits


def mark(cursor: Cursor, text: str, table: str, column: str | None, present: str) -> None:
    """Comment on a table or column that is kept for others, and log a warning; `present`: its comment until now."""
    log.warning("gold.%s: %s", f"{table}.{column}" if column else table, text)
    if present != MARK + text:
        comment_on(cursor, MARK + text, table, column)


def drop_left_tables(cursor: Cursor) -> None:
    """Drop the tables that earlier publications made and that no model describes any more.

    A table that other objects read stays, marked by a comment and a warning. Tables of other owners stay.
    """
    models = {table.name for table in gold_tables()}
    published_before = tables_of_last_publication(cursor)
    dependents = read_dependents(cursor)
    for name, table in published_tables(cursor).items():
        was_published = lake_table(GOLD, name) in published_before or table.comment.startswith(MARK)
        if name in models or not table.is_own or not was_published:
            continue
        if readers := dependents.get((name, None)):
            mark(
                cursor,
                f"the model left the project, and the table is not published any more. {_list(readers)} reads it: drop"
                " or change that, and the next run drops the table.",
                name,
                None,
                table.comment,
            )
        else:
            log.info("gold.%s: the model left the project, so the table is dropped", name)
            cursor.execute(f"drop table {quote(GOLD_SCHEMA)}.{quote(name)}".encode())


def _list(names: set[str]) -> str:
    return ", ".join(sorted(names))


def _staging_table(name: str, staging: str) -> str:
    return f"{STAGING_SCHEMA}.{quote(f'{name}_{staging}')}"


def count_staged_rows(cursor: Cursor, staging: str) -> dict[str, int]:
    """Return the number of staged rows of each gold table. Raises AirflowFailException if a staging table is gone."""
    with require_staging():
        return _count_rows(
            cursor, {table.name: _staging_table(table.name, staging) for table in gold_tables()}
        )


def count_published_rows(cursor: Cursor) -> dict[str, int]:
    """Return the number of rows of each gold table, and log it."""
    counts = _count_rows(
        cursor, {table.name: f"{GOLD_SCHEMA}.{quote(table.name)}" for table in gold_tables()}
    )
    for name, count in counts.items():
        log.info("gold.%s: %d rows", name, count)
    return counts


def _count_rows(cursor: Cursor, relations: dict[str, str]) -> dict[str, int]:
    if not relations:
        return {}
    cursor.execute(
        " union all ".join(
            f"select {literal(name)} as name, count(*) as rows from {relation}"
            for name, relation in relations.items()
        ).encode()
    )
    return dict(cursor.fetchall())


@contextmanager
def require_staging() -> Iterator[None]:
    """Raise AirflowFailException if a staging table that the block reads is gone."""
    try:
        yield
    except UndefinedTable as error:
        raise AirflowFailException(
            "The staged rows are gone: gold was published, rolled back or audited again in the meantime"
            f" ({error.diag.message_primary}). Clear the tasks of `stage` with all downstream"
        ) from error


def drop_staging() -> None:
    """Drop the staging tables of all batches; a table that another session reads is left for the next publication.

    Call this after a publication, while the run has the lease: no other run stages then, and rows that dead runs had
    staged are published with it. Also drops temporary tables that a killed Trino statement left (`tmp_trino_…`).
    """
    deadline = time.monotonic() + CLEANING_SECONDS
    with transaction() as cursor:
        # Drop the newest tables first. A running pg_dump locks the older ones, which existed when it began.
        cursor.execute(
            """
            select format('%%I.%%I', relnamespace::regnamespace, relname) as name
            from pg_class
            where relnamespace = to_regnamespace(%s) and relkind = 'r' and relname ~ %s
            order by oid desc
            """,
            (STAGING_SCHEMA, r"^(.+_\d+_\d+|tmp_trino_.+)$"),
        )
        tables = [row.name for row in cursor.fetchall()]
    blocked = []
    # Drop 50 in each transaction: each takes about five locks, and a server has only some thousands.
    remaining = iter(tables)
    while chunk := list(islice(remaining, 50)):
        with transaction(lock_limit=timedelta(milliseconds=200)) as cursor:
            for table in chunk:
                try:
                    with cursor.connection.transaction():
                        cursor.execute(f"drop table if exists {table}".encode())
                except LockNotAvailable:
                    blocked.append(table)
        if time.monotonic() > deadline:
            break
    if blocked:
        log.warning(
            "%s: in use by another session; the next publication tries to drop it again. %s",
            ", ".join(blocked[:10]),
            describe_lock_holders(),
        )
