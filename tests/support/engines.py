"""PostgreSQL and Trino for tests of bronze.

The source, the lake's catalog and gold are databases of one PostgreSQL server, without passwords.
"""

import itertools
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import trino

from stack.fetch import jdk, trino_home
from stack.settings import ROOT, STACK, Settings
from support.dbt_project import copy_project
from support.dbt_runner import Dbt, run_context
from support.postgres import Server, postgres_server, query
from support.waiting import wait_until

ROLES = ("lake", "source_reader", "publisher", "bi_reader")
DATABASES = {"lake": "lake", "shop": "postgres", "bi": "publisher"}  # database -> owner
SCRIPTS = {"lake": STACK / "postgres" / "lake.sql", "bi": STACK / "postgres" / "bi.sql"}


@dataclass
class Engines:
    """The running engines. `batches` yields the batch of each next run."""

    postgres: Server
    trino_port: int
    batches: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def source(self, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """Run a statement on the source as its owner, and return its rows."""
        return query(self.postgres.url(database="shop"), statement, parameters)

    def gold(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement on the gold database, and return its rows."""
        return query(self.postgres.url(database="bi"), statement)

    def lake(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement on Trino and return its rows, in UTC."""
        with trino.dbapi.Connection(
            "127.0.0.1", self.trino_port, "tests", catalog="lake", timezone="UTC"
        ) as connection:
            return [tuple(row) for row in connection.cursor().execute(statement).fetchall()]


@dataclass
class BronzeProject:
    """A dbt project of bronze models on the engines."""

    engines: Engines
    dbt: Dbt

    def run(self, *models: str, fails: bool = False, **context: Any) -> tuple[int, str]:
        """Run bronze models as a run's tasks do; return the batch and dbt's output.

        `fails`: whether dbt must fail. `context`: values of the run's context that differ from those of a scheduled run
        from 2000 to 2030.
        """
        batch = next(self.engines.batches)
        run = run_context(
            batch,
            **{
                "kind": "scheduled",
                "extract_from": "2000-01-01 00:00:00",
                "extract_to": "2030-01-01 00:00:00",
            }
            | context,
        )
        success, output = self.dbt.run("trino", list(models), run)
        assert success is not fails, output
        return batch, output

    def freshness(self) -> dict[str, str]:
        """Return dbt's freshness status of each source table that has a limit for its age."""
        done = self.dbt.invoke("trino", "source", "freshness")
        return {
            result.node.name: str(result.status)
            for result in done.result.results
            if result.node.resource_type == "source"
        }


@contextmanager
def start_engines() -> Iterator[Engines]:
    """Start PostgreSQL with the empty databases, and Trino with the stack's catalogs; stop both afterwards."""
    with ExitStack() as sockets:
        listeners = [sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        postgres_port, trino_port = (listener.getsockname()[1] for listener in listeners)
    with postgres_server(postgres_port, tcp=True) as server, tempfile.TemporaryDirectory() as folder:
        create_databases(server)
        engines = Engines(server, trino_port)
        with trino_server(server, trino_port, Path(folder)):
            wait_until(lambda: answers(engines), seconds=120)
            yield engines


def answers(engines: Engines) -> bool:
    """Return whether Trino answers a statement."""
    try:
        return engines.lake("select 1") == [(1,)]
    except (trino.exceptions.Error, OSError):
        return False


def create_databases(server: Server) -> None:
    """Create the stack's roles and databases, and the state tables in the gold database."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        for role in ROLES:
            connection.execute(f"create role {role} login".encode())
        for database, owner in DATABASES.items():
            connection.execute(f"create database {database} owner {owner}".encode())
    for database, script in SCRIPTS.items():
        query(server.url(database=database), script.read_text())
    versions = ROOT / "include" / "sql" / "control" / "versions"
    for script in sorted(versions.glob("*.sql")):
        query(server.url("publisher", "bi"), script.read_text())


@contextmanager
def trino_server(server: Server, port: int, folder: Path) -> Iterator[None]:
    """Run Trino with the stack's configuration, and with its data in a folder."""
    settings = Settings()
    (folder / "warehouse").mkdir()
    etc = STACK / "trino" / "etc"
    variables = {
        "TRINO_CONFIG_DIR": etc, "STACK_TRINO_PORT": port, "STACK_TRINO_HOST": "127.0.0.1",
        "STACK_BIND_HOST": "127.0.0.1", "STACK_POSTGRES_HOST": "127.0.0.1", "STACK_POSTGRES_PORT": server.port,
        "STACK_WAREHOUSE": f"file://{folder / 'warehouse'}", "LAKE_PASSWORD": "none",
        "STACK_SOURCE_JDBC_URL": f"jdbc:postgresql://127.0.0.1:{server.port}/shop",
        "STACK_SOURCE_USER": "source_reader", "STACK_SOURCE_PASSWORD": "none", "PUBLISHER_PASSWORD": "none",
    }  # fmt: skip
    command = [trino_home(settings) / "bin" / "launcher", "run", f"--etc-dir={etc}", f"--data-dir={folder}"]
    command += [f"--jvm-dir={jdk('trino', settings)}", "-J-Xmx1G"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            env=os.environ | {name: str(value) for name, value in variables.items()},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def bronze_project(engines: Engines, folder: Path, files: Mapping[str, str]) -> BronzeProject:
    """Write a dbt project that has the product's macros, and `files` as its bronze models."""
    copy_project(folder, None)
    bronze = folder / "models" / "bronze"
    bronze.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (bronze / name).write_text(text)
    environment = {"TRINO_HOST": "127.0.0.1", "TRINO_PORT": str(engines.trino_port)}
    return BronzeProject(engines, Dbt(environment, folder / "runs", folder))
