"""Runs of the DAGs, and what they published."""

import json
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import psycopg2
import trino
from psycopg2 import sql
from rich.table import Column, Table

from medallion.names import GOLD, HOURLY_DAG, RECONCILE_DAG, lake_table
from stack.airflow_api import AirflowApi
from stack.build import DBT
from stack.console import console, table_console
from stack.environment import HOST, public_environment
from stack.errors import StackError
from stack.settings import Settings
from stack.source import Source, grants


def query(dsn: str, statement: str | sql.Composed) -> list[tuple[Any, ...]]:
    """Return the rows of one statement on the database `dsn`; times are UTC."""
    with (
        closing(psycopg2.connect(dsn, connect_timeout=10, options="-c TimeZone=UTC")) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
        return cursor.fetchall()


def source_dsn(settings: Settings) -> str:
    """Return libpq's connection string for the source, with the pipeline's login."""
    return Source(settings).dsn


def source_tables() -> list[tuple[str, str, str, str]]:
    """Return schema, name, cursor column (empty if it has none) and cursor zone of every declared source table."""
    manifest = json.loads((DBT / "target" / "trino" / "manifest.json").read_text())
    return [
        (
            source["schema"],
            source["identifier"],
            source["loaded_at_field"] or "",
            source["meta"].get("cursor_zone", "UTC"),
        )
        for source in manifest["sources"].values()
    ]


def first_change(settings: Settings) -> datetime | None:
    """Return the smallest cursor over the declared source tables; None without any row or table.

    Cursors before year 1 or in the future are ignored, because no window reaches them. A table without a cursor, or
    with a number as its cursor, has no times: its rows count as changed an hour ago. Raises StackError if a table or
    its cursor can't be read.
    """
    # The query begins with the second day, because a zone may move a time of the first day to before year 1.
    oldest = sql.SQL(
        "select max(moment) from (select case pg_typeof(min({cursor})) when 'timestamptz'::regtype"
        " then min({cursor})::timestamptz else min({cursor})::timestamp at time zone {zone} end as moment"
        " from {table} where {cursor} >= '0001-01-02 00:00:00+00') as first_row where moment <= now()"
    )
    any_row = sql.SQL("select max(now() - interval '1 hour') from (select from {table} limit 1) as first_row")
    tables, dsn = source_tables(), source_dsn(settings)
    moments, missing = [], []
    for schema, table, cursor, zone in tables:
        parts = {
            "cursor": sql.Identifier(cursor or "none"),
            "table": sql.Identifier(schema, table),
            "zone": sql.Literal(zone),
        }
        try:
            try:
                [(moment,)] = query(dsn, (oldest if cursor else any_row).format(**parts))
            except (psycopg2.errors.CannotCoerce, psycopg2.errors.UndefinedFunction, psycopg2.DataError):
                # The cursor is a number, which has no time.
                [(moment,)] = query(dsn, any_row.format(**parts))
        except psycopg2.errors.UndefinedTable:
            missing.append(f"{schema}.{table}")
        except psycopg2.ProgrammingError as error:
            role = Source(settings).role
            raise StackError(
                f"The source's table {schema}.{table} can't be read (its cursor: {cursor or 'none'}): "
                f"{error.diag.message_primary}.\nThe dbt project declares this table as a source; the role {role} "
                f"needs usage on its schema and select on the table:\n{grants(role, [schema])}"
            ) from None
        else:
            moments += [moment] if moment else []
    if missing and len(missing) < len(tables):
        raise StackError(f"The source lacks tables that the dbt project declares: {', '.join(missing)}.")
    return min(moments, default=None)


def publication(settings: Settings) -> tuple[Any, ...] | None:
    """Return (run_id, batch, window_end, published_at) of the gold that BI sees; None if nothing was published."""
    url = public_environment(settings)["GOLD_URL"]
    if query(url, "select to_regclass('gold.publication')") == [(None,)]:
        return None
    rows = query(url, "select run_id, batch, window_end, published_at from gold.publication")
    return rows[0] if rows else None


def on_trino(settings: Settings, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return columns and rows of one statement on Trino, catalog `lake`. Raises StackError with Trino's message."""
    with trino.dbapi.Connection(
        HOST, settings.trino_port, "medallion", catalog="lake", timezone="UTC"
    ) as connection:
        cursor = connection.cursor()
        try:
            rows = [tuple(row) for row in cursor.execute(statement).fetchall()]
        except (trino.exceptions.Error, OSError) as error:
            raise StackError(
                f"Trino at {HOST}:{settings.trino_port} refused a statement or does not answer (make status): {error}"
            ) from None
        return [column[0] for column in cursor.description or []], rows


def show(title: str, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    """Print rows as a table; times are UTC."""
    table = Table(*(Column(name, overflow="fold") for name in columns), title=title)
    for row in rows:
        table.add_row(*("" if value is None else str(value).removesuffix("+00:00") for value in row))
    table_console.print(table)


def show_publications(settings: Settings, count: int) -> None:
    """Print the latest publications, newest first."""
    columns, rows = on_trino(
        settings,
        "select batch, date_trunc('second', published_at) as published_at,"
        " date_trunc('second', window_end) as window_end, run_id"
        " from postgres_gold.audit.publications"
        f" order by batch desc limit {count}",
    )
    show("Publications (audit.publications), UTC", columns, rows)


def show_as_of(settings: Settings, batch: int, table: str, count: int) -> None:
    """Print the first rows of a gold table as publication `batch` has it, and the statement that returns all rows.

    Raises StackError if there is no such publication or table, or if its snapshot has expired.
    """
    _, snapshots = on_trino(
        settings,
        f"select json_extract_scalar(snapshots, '$[\"{lake_table(GOLD, table)}\"]')"
        f" from postgres_gold.audit.publications where batch = {batch}",
    )
    if not snapshots or snapshots[0][0] is None:
        raise StackError(f"No publication by batch {batch} has a table {table}. See: make publications")
    statement = f'select * from lake.gold."{table}" for version as of {snapshots[0][0]}'
    columns, rows = on_trino(settings, f"{statement} order by 1 limit {count}")
    show(f"gold.{table} as of batch {batch}", columns, rows)
    console.print(f"All rows, in Trino:  {statement}", soft_wrap=True)


# Rows written per layer and per gold table, and rejected rows, as the run's audit counted them.
RUN_FIGURES = """
with attempts as (
    select task_id, layer, batch, records_processed as rows
    from postgres_gold.audit.data_pipeline_runs
    where dag_id = '{dag}' and run_id = '{run}' and records_processed is not null
),

final as (
    select 1 as position, layer as step, sum(rows) as rows
    from attempts
    where layer <> '{gold}'
    group by layer
    union all
    select 2, 'rejected', sum(quarantined)
    from postgres_gold.audit.entity_accounts
    where batch in (select batch from attempts)
    having count(*) > 0
    union all
    select 3, task_id, rows
    from attempts
    where layer = '{gold}'
)

select step, rows from final order by position, step
"""
RECONCILIATION_FIGURES = """
select
    table_name as "table",
    max_by(missed, compared_at) as missed,
    max_by(deleted, compared_at) as deleted,
    max_by(went_back, compared_at) as went_back,
    max_by(unmoved, compared_at) as unmoved,
    max_by(null_cursor, compared_at) as null_cursor,
    max_by(ahead, compared_at) as ahead,
    max_by(ambiguous, compared_at) as ambiguous
from postgres_gold.audit.reconciliations
where batch in (
    select batch from postgres_gold.audit.data_pipeline_runs where dag_id = '{dag}' and run_id = '{run}'
)
group by table_name
order by table_name
"""
FIGURES = {
    HOURLY_DAG: ("Rows of this run", RUN_FIGURES),
    RECONCILE_DAG: ("Differences between the source and bronze", RECONCILIATION_FIGURES),
}


def show_figures(settings: Settings, dag: str, run: str) -> None:
    """Print the figures of a run that succeeded, if its DAG has figures; a missing answer is no error."""
    if dag not in FIGURES:
        return
    title, statement = FIGURES[dag]
    try:
        columns, rows = on_trino(settings, statement.format(dag=dag, run=run.replace("'", "''"), gold=GOLD))
    except StackError as error:
        console.print(f"The run's figures can't be read. {error}")
        return
    if rows:
        show(title, columns, [(name, *(f"{count:,}" for count in counts)) for name, *counts in rows])
    else:
        console.print("The run has no figures: it stopped before they were counted.")


def follow(airflow: AirflowApi, dag: str, run: str) -> None:
    """Print the run's page, let the scheduler start it, and follow it to its end."""
    console.print(f"Run {run}: {airflow.url}/dags/{dag}/runs/{run}", soft_wrap=True)
    airflow.unpause(dag)
    airflow.follow(dag, run)


def trigger(settings: Settings, params: dict[str, Any], dag: str = HOURLY_DAG) -> None:
    """Run `dag` once with `params`, follow it to its end, and print its figures."""
    with AirflowApi(settings) as airflow:
        airflow.wait_dag(dag)
        run = airflow.trigger(dag, params)
        follow(airflow, dag, run)
    show_figures(settings, dag, run)


def run_history(settings: Settings, start: datetime) -> None:
    """Run the DAG over everything since `start`, or follow such a run that an earlier call left active."""
    with AirflowApi(settings) as airflow:
        airflow.wait_dag(HOURLY_DAG)
        active = [
            run["dag_run_id"] for run in airflow.active(HOURLY_DAG) if (run["conf"] or {}).get("window_start")
        ]
        window = {"window_start": start.isoformat(), "window_end": datetime.now(UTC).isoformat()}
        # Unpausing lets Airflow create the last hour's run. This run is due earlier, so it starts first.
        run = active[0] if active else airflow.trigger(HOURLY_DAG, window, due=start)
        follow(airflow, HOURLY_DAG, run)
    show_figures(settings, HOURLY_DAG, run)


def backfill(settings: Settings, start: datetime, end: datetime, params: dict[str, Any]) -> None:
    """Run each hour of [start, end), UTC, as a separate run, and follow them. Raises StackError if one failed."""
    with AirflowApi(settings) as airflow:
        airflow.wait_dag(HOURLY_DAG)
        airflow.unpause(HOURLY_DAG)
        airflow.backfill(HOURLY_DAG, start, end, params)


def show_gold(settings: Settings) -> None:
    """Print the gold tables that BI reads, with their row counts."""
    url = public_environment(settings)["GOLD_URL"]
    tables = query(
        url, "select table_name from information_schema.tables where table_schema = 'gold' order by 1"
    )
    count = sql.SQL("select count(*) from gold.{}")
    rows = [(name, f"{query(url, count.format(sql.Identifier(name)))[0][0]:,}") for (name,) in tables]
    show("PostgreSQL, schema gold", ["table", "rows"], rows)
