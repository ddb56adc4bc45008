"""The stack of the end-to-end tests. It has its own folder and ports, so that it does not disturb a running stack.

The tests in `in_process` have another stack, without Airflow, so that both groups of tests can run side by side.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import pytest
import trino
from pyhive import hive
from pyiceberg.catalog.sql import SqlCatalog

from oracle import GOLD, Expected, expected_from_csv, expected_from_source
from stack import supervisor
from stack.bootstrap import HOME
from stack.environment import environment, public_environment
from stack.lifecycle import up
from stack.settings import ROOT, Settings
from support import olist
from support.dbt_runner import Dbt, run_context
from support.postgres import query

COMMAND_MINUTES = 30
NOTIFICATIONS = "notifications.txt"


@dataclass(frozen=True)
class Stack:
    """A running stack. Its commands run with the variables in `environment`, which contain its folder and ports."""

    settings: Settings
    environment: dict[str, str]
    quiet: bool = False

    def run(self, *arguments: str, status: int = 0) -> str:
        """Run `python -m stack ARGUMENTS`, check its exit status and return what it printed."""
        command = [sys.executable, "-m", "stack", *arguments]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_MINUTES * 60,
            check=False,
        )
        if not self.quiet or done.returncode != status:
            print(done.stdout)  # pytest shows the output if the test fails
        assert done.returncode == status, f"{command[2:]} ended with {done.returncode}"
        return done.stdout

    @cached_property
    def dbt(self) -> Dbt:
        """Return a dbt that runs in this process and uses the stack's engines."""
        return Dbt(environment(self.settings), self.settings.home / "dbt-of-tests")

    def run_bronze(self, *tables: str, batch: int, fails: bool = False, **run: Any) -> str:
        """Run the bronze models of tables as a run's tasks do; return dbt's output.

        `fails`: whether dbt must fail. `run`: values of the run's context that differ from those of a first run.
        """
        context = run_context(batch, **run)
        success, output = self.dbt.run("trino", [f"bronze.{table}" for table in tables], context)
        assert success is not fails, output
        return output

    def draw_batch(self) -> int:
        """Return a new batch number, which no run has used."""
        self.query_trino(
            "call postgres_gold.system.execute('update audit.pipeline set last_batch = last_batch + 1')"
        )
        [(batch,)] = self.query_audit("select last_batch from audit.pipeline")
        return int(batch)

    @cached_property
    def urls(self) -> dict[str, str]:
        """Return the variables that `make env` prints."""
        return public_environment(self.settings)

    def query_source(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement on the source and return its rows, in UTC."""
        return query(self.urls["SOURCE_URL"], statement)

    def query_gold(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement on gold in PostgreSQL as the role of BI tools, and return its rows, in UTC."""
        return query(self.urls["GOLD_URL"], statement)

    def query_trino(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement on Trino and return its rows, in UTC."""
        with trino.dbapi.Connection(
            "127.0.0.1", self.settings.trino_port, "tests", catalog="lake", timezone="UTC"
        ) as connection:
            return [tuple(row) for row in connection.cursor().execute(statement).fetchall()]

    def query_spark(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement on the Spark Thrift server and return its rows."""
        with closing(hive.Connection("127.0.0.1", self.settings.thrift_port)) as connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @cached_property
    def catalog(self) -> SqlCatalog:
        """Return pyiceberg's client of the lake's catalog."""
        variables = environment(self.settings)
        os.environ["PGSERVICEFILE"] = variables["PGSERVICEFILE"]
        return SqlCatalog(
            "lake",
            uri=variables["PYICEBERG_CATALOG__LAKE__URI"],
            warehouse=variables["PYICEBERG_CATALOG__LAKE__WAREHOUSE"],
            init_catalog_tables="false",
            pool_pre_ping="true",  # replaces connections that are lost when a test kills PostgreSQL
        )

    def compute_expected(self) -> Expected:
        """Return the tables that the pipeline must produce from the current rows of the source."""
        return expected_from_source(self.urls["SOURCE_URL"])

    def find_differences(self, *silver: str, expected: Expected | None = None) -> dict[str, str]:
        """Compare gold in PostgreSQL and the given silver tables with `expected`; return table -> its differences.

        Without `expected`, compare them with what the oracle computes from the current rows of the source.
        """
        expected = expected or self.compute_expected()

        def select(schema: str, table: str) -> str:
            return f"select {', '.join(expected.columns(table))} from {schema}.{table}"

        differences = {
            table: expected.diff(table, self.query_gold(select("gold", table))) for table in GOLD
        } | {table: expected.diff(table, self.query_trino(select("silver", table))) for table in silver}
        return {table: difference for table, difference in differences.items() if difference}

    def read_published(self, *tables: str) -> dict[str, list[tuple[Any, ...]]]:
        """Return the sorted rows of published tables in PostgreSQL; of all gold tables if none is given."""
        return {
            table: sorted(self.query_gold(f"select * from gold.{table}"), key=repr)
            for table in tables or GOLD
        }

    def run_sample(self, *arguments: str) -> None:
        """Run `python -m sample ARGUMENTS` on the stack's shop."""
        self.run("exec", "--", "python", "-m", "sample", *arguments)

    def query_audit(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement on the schema `audit` through Trino, and return its rows.

        The role of BI tools, which `query_gold` uses, may not read this schema.
        """
        return self.query_trino(f"select * from table(postgres_gold.system.query(query => '{statement}'))")


def find_free_ports(count: int) -> list[int]:
    """Return this many ports that no process listens on."""
    with ExitStack() as open_sockets:
        servers = [open_sockets.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


@contextmanager
def start_stack(folder: str = "test", with_airflow: bool = True, quiet: bool = False) -> Iterator[Stack]:
    """Start an empty stack, yield it, and stop all its processes. Its logs are kept until its next start."""
    home = HOME / folder
    names = list(Settings().ports)
    settings = Settings(home=home, shop="off", **dict(zip(names, find_free_ports(len(names)), strict=True)))
    chosen = {f"STACK_{name.upper()}": str(value) for name, value in settings if value is not None}
    just_now = datetime.now(UTC) - timedelta(minutes=1)
    notifier = {"path": str(home / NOTIFICATIONS), "text": "{{ ti.task_id }} of {{ run_id }} failed"}
    chosen |= {
        "MEDALLION_NOTIFIER": "tests.e2e.notifier.FileNotifier",
        "MEDALLION_NOTIFIER_ARGUMENTS": json.dumps(notifier),
        "MEDALLION_MAX_GOLD_AGE": "PT30S",  # so short that the first scheduled run misses its deadline
        # The last interval of each schedule ended a minute ago. So each DAG has one scheduled run when Airflow starts,
        # and the next one an hour or a day later. The runs of the daily DAGs do nothing before the first publication.
        "MEDALLION_SCHEDULE": f"{just_now.minute} * * * *",
        "MEDALLION_RECONCILE_SCHEDULE": f"{just_now.minute} {just_now.hour} * * *",
        "MEDALLION_MAINTENANCE_SCHEDULE": f"{just_now.minute} {just_now.hour} * * *",
    }
    stack = Stack(settings, {**os.environ, **chosen}, quiet)
    stack.run("down")  # stop processes that a killed test process left
    shutil.rmtree(home, ignore_errors=True)
    if with_airflow:
        stack.run("up")
    else:
        up(settings, with_airflow=False)
    yield stack
    stack.run("down")
    assert supervisor.stack_processes(settings) == []


def fill_shop(stack: Stack) -> Expected:
    """Fill the shop and return the tables that the pipeline must produce from its rows.

    The rows are those of Olist's CSV files, or generated ones if there are no such files.
    """
    if olist.FOLDER.is_dir():
        stack.run_sample("load", str(olist.FOLDER))
        return expected_from_csv(olist.FOLDER)
    stack.run_sample("generate", "--orders", "3000", "--anomalies", "all")
    return stack.compute_expected()


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Yield the stack that the tests with Airflow share."""
    with start_stack() as stack:
        yield stack


@pytest.fixture(scope="session")
def history(stack: Stack) -> Expected:
    """Fill the shop and return the tables that its history must produce."""
    return fill_shop(stack)


@pytest.fixture(scope="session")
def first_run(stack: Stack, history: Expected) -> str:
    """Do what `make run` does: publish the shop's history, then a burst of changes. Return the command's output."""
    return stack.run("run")
