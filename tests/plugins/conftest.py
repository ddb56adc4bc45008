"""The gold database and the source, on a real PostgreSQL."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from tenacity import stop_after_delay

from medallion.engines.postgres import create_audit_tables
from medallion.project.contracts import gold_tables
from medallion.run import lease
from medallion.run.attempts import AttemptListener, close_attempt
from medallion.settings import settings
from support.postgres import Server, query
from support.task_instance import Task


@pytest.fixture(autouse=True)
def defaults(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting of the machine that runs the tests; those of a test end with it."""
    for name in type(settings()).model_fields:
        monkeypatch.delenv(f"MEDALLION_{name.upper()}", raising=False)
    settings.cache_clear()
    yield
    settings.cache_clear()


def connection(server: Server, database: str, login: str = "postgres") -> str:
    """An Airflow connection to a database of the server, as JSON."""
    return json.dumps(
        {"conn_type": "postgres", "host": str(server.folder), "login": login, "schema": database}
    )


Gold = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def gold(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gold]:
    """An empty database for gold, with the audit tables; called with a statement it returns the rows."""
    query_outside(postgres, "create database bi")
    monkeypatch.setenv("AIRFLOW_CONN_MEDALLION_GOLD", connection(postgres, "bi"))
    # There is no engine here on which anything could be left.
    monkeypatch.setattr(lease, "end_all_leftovers", lambda: None)
    # Tries that a test leaves open have no process.
    monkeypatch.setattr(lease.wait_for_open_attempts.retry, "stop", stop_after_delay(0))
    create_audit_tables()
    yield lambda statement, parameters=None: query(postgres.url(database="bi"), statement, parameters)
    query_outside(postgres, "drop database bi with (force)")


@pytest.fixture
def source_url(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty database, to which Airflow's connection of the source leads."""
    query_outside(postgres, "create database source")
    monkeypatch.setenv("AIRFLOW_CONN_MEDALLION_SOURCE", connection(postgres, "source"))
    yield postgres.url(database="source")
    query_outside(postgres, "drop database source with (force)")


@pytest.fixture
def source(source_url: str) -> Gold:
    """An empty source: the nine tables with no column but `updated_at`."""
    query(source_url, "create schema sales")
    for table in (
        "customers", "sellers", "products", "product_category_name_translation", "geolocation",
        "orders", "order_items", "order_payments", "order_reviews",
    ):  # fmt: skip
        query(source_url, f"create table sales.{table} (updated_at timestamptz not null)")
    return lambda statement, parameters=None: query(source_url, statement, parameters)


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlCatalog]:
    """An Iceberg catalog of its own, with the layers and no table: what the code finds as `lake`."""
    made = SqlCatalog("lake", uri=f"sqlite:///{tmp_path}/lake.db", warehouse=f"file://{tmp_path}")
    monkeypatch.setattr("pyiceberg.catalog.load_catalog", {"lake": made}.__getitem__)
    for layer in ("bronze", "silver", "gold"):
        made.create_namespace(layer)
    yield made
    made.close()


def query_outside(server: Server, statement: str) -> None:
    """Run a statement that can't be in a transaction."""
    import psycopg

    with psycopg.connect(server.url(), autocommit=True) as outside:
        outside.execute(statement)  # type: ignore[call-overload]


Stage = Callable[..., dict[str, Any]]


@pytest.fixture
def stage(gold: Gold) -> Stage:
    """Begin a run and stage rows of gold tables, as mappings; returns what the run's audit says."""

    def stage(
        run: str, window: tuple[datetime, datetime] | None = None, **rows: list[dict[str, Any]]
    ) -> dict[str, Any]:
        [(base_batch, base)] = gold("select published_batch, published_snapshots from audit.pipeline")
        [(publication,)] = gold("select coalesce(max(batch), 0) from gold.publication")
        lease.hold_lease(Task(run))
        [(batch,)] = gold("select lease_batch from audit.pipeline")
        gold(
            "insert into audit.runs values ('medallion_hourly', %s, 'ranged', %s, %s, null)",
            (run, *(window or (None, None))),
        )
        for table in gold_tables():
            columns = ", ".join(f"{name} {kind}" for name, kind in table.columns.items())
            gold(f"create table staging.{table.name}_{batch}_1 ({columns}, _deleted boolean not null)")
            for row in rows.get(table.name, []):
                values = ", ".join(["%s"] * len(row))
                gold(
                    f"insert into staging.{table.name}_{batch}_1 ({', '.join(row)}) values ({values})",
                    tuple(row.values()),
                )
            ran(Task(run, task_id=f"stage.{table.name}"))
        return {
            "batch": batch,
            "staging": f"{batch}_1",
            "snapshots": {f"gold.{table.name}": batch * 10 for table in gold_tables()},
            "base_batch": base_batch,
            "base_publication": publication,
            "base_snapshots": base,
        }

    return stage


def ran(task: Task) -> None:
    """A task ran, and was audited as Airflow has it audited."""
    AttemptListener().on_task_instance_running(None, task)
    close_attempt({"ti": task})
