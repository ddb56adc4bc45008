"""The fixture project, the gold database and the source on a real PostgreSQL, and an Iceberg catalog."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import psycopg2
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from tenacity import stop_after_delay

from medallion import maintenance
from medallion.engines.postgres import quote, transaction
from medallion.names import GOLD, LAYERS, lake_table
from medallion.project import manifest
from medallion.project.contracts import gold_tables
from medallion.project.fingerprint import table_fingerprints
from medallion.publish import audit, rollback
from medallion.publish import publish as publish_module
from medallion.run import lease
from medallion.run.attempts import attempt_of
from medallion.run.state import claim_run
from medallion.settings import settings
from medallion.store.attempts import close_attempt_row, open_attempt
from medallion.store.migrations import upgrade_store
from medallion.store.pipeline import publication_batch, read_pipeline
from medallion.tasks import dbt
from stack.environment import POSTGRES_BIN
from support.dbt_project import parsed_fixture
from support.postgres import Server
from support.task_instance import HOURLY, Task


@pytest.fixture(autouse=True)
def defaults(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ignore the settings of the machine that runs the tests; after each test forget the settings that it read."""
    for name in type(settings()).model_fields:
        monkeypatch.delenv(f"MEDALLION_{name.upper()}", raising=False)
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture(autouse=True, scope="package")
def fixture_project(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Let the package read the manifests of tests/support/models, and restore its paths for tests elsewhere."""
    folder = parsed_fixture(request.config.cache.mkdir("dbt"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "MANIFESTS", folder)
        patch.setattr(dbt, "MANIFESTS", folder)
        yield folder


Models = Callable[..., None]


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Models:
    """Let the package read a manifest that the test writes."""

    def write(content: dict[str, Any], engine: str = "trino") -> None:
        (tmp_path / engine).mkdir(exist_ok=True)
        (tmp_path / engine / "manifest.json").write_text(json.dumps(content))

    monkeypatch.setattr(manifest, "MANIFESTS", tmp_path)
    return write


def connection(server: Server, database: str, login: str = "postgres") -> str:
    """Return an Airflow connection to a database of the server, as JSON."""
    return json.dumps(
        {"conn_type": "postgres", "host": str(server.folder), "login": login, "schema": database}
    )


Query = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def empty_gold(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Query]:
    """Create an empty database for gold; the fixture is a function that runs a statement on it."""
    query_outside(postgres, "create database empty_gold")
    monkeypatch.setenv("AIRFLOW_CONN_MEDALLION_GOLD", connection(postgres, "empty_gold"))
    with connect(postgres.url(database="empty_gold")) as run:
        yield run
    query_outside(postgres, "drop database empty_gold with (force)")


@pytest.fixture(scope="session")
def store_script(postgres: Server) -> str:
    """Return the statements that create an empty store. They are a dump, which runs faster than the migrations."""
    query_outside(postgres, "create database bi")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_MEDALLION_GOLD", connection(postgres, "bi"))
        upgrade_store()
    dump = subprocess.run(
        [POSTGRES_BIN / "pg_dump", "--inserts", "--no-owner", postgres.url(database="bi")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # Leave out lines that only psql understands, and settings of the session.
    return "\n".join(line for line in dump.splitlines() if not line.startswith(("\\", "SET ", "SELECT ")))


@pytest.fixture
def gold(postgres: Server, store_script: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Query]:
    """Create a gold database with an empty store; the fixture is a function that runs a statement on it."""
    # No engine runs here, so there are no leftovers to end.
    monkeypatch.setattr(lease, "end_all_leftovers", lambda: None)
    # Attempts that a test leaves open have no process to wait for.
    monkeypatch.setattr(lease.wait_for_open_attempts.retry, "stop", stop_after_delay(0))
    monkeypatch.setenv("AIRFLOW_CONN_MEDALLION_GOLD", connection(postgres, "bi"))
    # Dropping schemas is faster than creating a database.
    with connect(postgres.url(database="bi")) as run:
        run(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'bi' and pid <> pg_backend_pid()"
        )
        run("drop schema audit, staging, gold cascade")
        run(store_script)
        yield run


@contextmanager
def connect(url: str) -> Iterator[Query]:
    """Connect to a database in UTC; yields a function that runs a statement in a transaction of its own."""
    with closing(psycopg2.connect(url, options="-c timezone=UTC")) as connection:
        connection.autocommit = True

        def run(statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters)
                return cursor.fetchall() if cursor.description else []

        yield run


@pytest.fixture(scope="session")
def source_database(postgres: Server) -> str:
    """Create the source's database; returns its URL."""
    query_outside(postgres, "create database source")
    return postgres.url(database="source")


@pytest.fixture
def source(postgres: Server, source_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Query]:
    """Point Airflow's source connection to an empty database; the fixture is a function that runs a statement on it."""
    monkeypatch.setenv("AIRFLOW_CONN_MEDALLION_SOURCE", connection(postgres, "source"))
    with connect(source_database) as run:
        yield run
        for (schema,) in run("select nspname from pg_namespace where nspname !~ '^(pg_|information_schema)'"):
            run(f"drop schema {quote(schema)} cascade")


@pytest.fixture
def plant(source: Query) -> Query:
    """Create the source tables that tests/support/models declare, without rows."""
    source(
        """
        create schema plant;
        create table plant.devices (device_id text, site text, updated_at timestamptz not null);
        create table plant."Reading Log" (
            reading_id text, device_id text, read_at timestamp, amount numeric(18, 2), updated_at timestamptz not null
        )
        """
    )
    return source


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlCatalog]:
    """Create an Iceberg catalog that the code loads as `lake`, with a namespace per layer and no tables."""
    with create_catalog(tmp_path) as lake:
        monkeypatch.setattr("pyiceberg.catalog.load_catalog", {"lake": lake}.__getitem__)
        yield lake


@contextmanager
def create_catalog(warehouse: Path) -> Iterator[SqlCatalog]:
    """Create an Iceberg catalog in memory, with a namespace per layer and no tables; data files go to `warehouse`."""
    lake = SqlCatalog("lake", uri="sqlite:///:memory:", warehouse=f"file://{warehouse}")
    for layer in LAYERS:
        lake.create_namespace(layer)
    yield lake
    lake.close()


def query_outside(server: Server, statement: str) -> None:
    """Run a statement that can't be in a transaction."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(statement.encode())


Stage = Callable[..., dict[str, Any]]


@pytest.fixture
def stage(gold: Query) -> Stage:
    """Simulate a run up to its staging; returns the result that its task `audit` would have.

    `window`: start and end of the run's window. `without`: tasks without an attempt, because somebody marked them as
    done. Other arguments: gold table -> its staged rows.
    """

    def stage(
        run: str,
        window: tuple[datetime, datetime] | None = None,
        without: tuple[str, ...] = (),
        **rows: list[dict[str, Any]],
    ) -> dict[str, Any]:
        with transaction() as cursor:
            base, publication = read_pipeline(cursor), publication_batch(cursor)
        lease.hold_lease(Task(run))
        [(batch,)] = gold("select lease_batch from audit.pipeline")
        gold(
            "insert into audit.runs (dag_id, run_id, kind, window_start, window_end)"
            " values ('medallion_hourly', %s, 'ranged', %s, %s)",
            (run, *(window or (None, None))),
        )
        for table in gold_tables():
            create_staging(gold, f"{table.name}_{batch}_1", table.columns)
            if staged := rows.get(table.name):
                staging = f"staging.{quote(f'{table.name}_{batch}_1')}"
                gold(
                    f"insert into {staging} select * from jsonb_populate_recordset(null::{staging}, %s)",
                    (json.dumps(staged),),
                )
        record_success(
            *(Task(run, task_id) for task_id in HOURLY.task_ids if "." in task_id and task_id not in without)
        )
        return {
            "batch": batch,
            "staging": f"{batch}_1",
            "snapshots": {lake_table(GOLD, table.name): batch * 10 for table in gold_tables()},
            "base_batch": base.published_batch,
            "base_publication": publication,
            "base_snapshots": base.published_snapshots,
        }

    return stage


def claimed(body: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that claims the run and then calls the body of a task, as Airflow's hooks do."""

    def execute(ti: Task, *arguments: Any) -> Any:
        claim_run(ti)
        return body(ti, *arguments)

    return execute


audit_run, publish, expire = map(claimed, (audit.audit_run, publish_module.publish, maintenance.expire))
choose_publication, restore = map(claimed, (rollback.choose_publication, rollback.restore))


def create_staging(gold: Query, name: str, columns: dict[str, str]) -> None:
    """Create an empty staging table."""
    described = ", ".join(f"{quote(column)} {kind}" for column, kind in columns.items())
    gold(f"create table staging.{quote(name)} ({described}, _deleted boolean not null)")


def record_success(*tasks: Task) -> None:
    """Record that tasks ran and succeeded, all at the same moment."""
    with transaction() as cursor:
        for task in tasks:
            open_attempt(cursor, attempt_of(task))
            close_attempt_row(cursor, attempt_of(task), "success")


def record_present_code(gold: Query) -> None:
    """Record that the present code built the tables of the lake."""
    gold("update audit.pipeline set fingerprints = %s", (json.dumps(table_fingerprints()),))


def forget_lease(gold: Query) -> None:
    """Free the lease, whoever holds it."""
    gold("update audit.pipeline set lease_dag_id = null, lease_run_id = null, lease_batch = null")
