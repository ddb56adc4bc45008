"""A stack of the tests' own, beside the one you may have running: other ports, another folder."""

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

import psycopg2
import pytest
import trino
from pyhive import hive
from pyiceberg.catalog.sql import SqlCatalog

from oracle import GOLD, Expected, expected_from_csv, expected_from_source
from stack import supervisor
from stack.bootstrap import HOME
from stack.environment import environment, public_environment
from stack.settings import ROOT, Settings
from support import olist

from .dbt_runner import Dbt

MINUTES = 30
NOTIFICATIONS = "notifications.txt"


@dataclass(frozen=True)
class Stack:
    """A running stack; `environment` tells its commands which."""

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
            timeout=MINUTES * 60,
            check=False,
        )
        if not self.quiet or done.returncode != status:
            print(done.stdout)  # pytest shows it where the test fails
        assert done.returncode == status, f"{command[2:]} ended with {done.returncode}"
        return done.stdout

    @cached_property
    def dbt(self) -> Dbt:
        """dbt in this process, on the stack's engines."""
        return Dbt(environment(self.settings), self.settings.home / "dbt-of-tests")

    def capture(self, *tables: str, fails: bool = False, **run: Any) -> str:
        """Run the bronze models of tables as a run's tasks do, told `run` of it; return what dbt said."""
        told = {
            "published_batch": 0,
            "snapshots": {},
            "compare_whole": "none",
            "tested_rows": "changed",
        } | run
        success, said = self.dbt.run("trino", [f"bronze.{table}" for table in tables], json.dumps(told))
        assert success is not fails, said
        return said

    def draw_batch(self) -> int:
        """Return the number of a batch that no run has."""
        self.lake(
            "call postgres_gold.system.execute('update audit.pipeline set last_batch = last_batch + 1')"
        )
        [(batch,)] = self.audit("select last_batch from audit.pipeline")
        return int(batch)

    @cached_property
    def urls(self) -> dict[str, str]:
        """What `make env` prints."""
        return public_environment(self.settings)

    def rows(self, url: str, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of a statement on a PostgreSQL of `urls`, in UTC."""
        with psycopg2.connect(self.urls[url], options="-c timezone=UTC") as connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def gold(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of a statement as a BI tool would read them."""
        return self.rows("GOLD_URL", statement)

    def lake(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of a statement on Trino, in UTC."""
        with trino.dbapi.Connection(
            "127.0.0.1", self.settings.trino_port, "tests", catalog="lake", timezone="UTC"
        ) as connection:
            return [tuple(row) for row in connection.cursor().execute(statement).fetchall()]

    def spark(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of a statement on the Spark Thrift server."""
        with closing(hive.Connection("127.0.0.1", self.settings.thrift_port)) as connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @cached_property
    def catalog(self) -> SqlCatalog:
        """The lake's catalog in pyiceberg."""
        found = environment(self.settings)
        os.environ["PGSERVICEFILE"] = found["PGSERVICEFILE"]
        return SqlCatalog(
            "lake",
            uri=found["PYICEBERG_CATALOG__LAKE__URI"],
            warehouse=found["PYICEBERG_CATALOG__LAKE__WAREHOUSE"],
            init_catalog_tables="false",
            pool_pre_ping="true",  # tests kill PostgreSQL
        )

    def expected(self) -> Expected:
        """Return what the source says now must come of it."""
        return expected_from_source(self.urls["SOURCE_URL"])

    def differences(self, *silver: str, expected: Expected | None = None) -> dict[str, str]:
        """Return how gold, as BI reads it, and tables of silver differ from `expected`: table -> differences."""
        expected = expected or self.expected()

        def selected(schema: str, table: str) -> str:
            return f"select {', '.join(expected.columns(table))} from {schema}.{table}"

        found = {table: expected.diff(table, self.gold(selected("gold", table))) for table in GOLD} | {
            table: expected.diff(table, self.lake(selected("silver", table))) for table in silver
        }
        return {table: difference for table, difference in found.items() if difference}

    def published(self, *tables: str) -> dict[str, list[tuple[Any, ...]]]:
        """Return what BI sees of tables, all of gold unless named, in a fixed order."""
        return {table: sorted(self.gold(f"select * from gold.{table}"), key=repr) for table in tables or GOLD}

    def sample(self, *arguments: str) -> None:
        """Run `python -m sample ARGUMENTS` on the stack's shop."""
        self.run("exec", "--", "python", "-m", "sample", *arguments)

    def audit(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of a statement on the audit, which BI may not read."""
        return self.lake(f"select * from table(postgres_gold.system.query(query => '{statement}'))")


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, all different."""
    with ExitStack() as held:
        servers = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


@contextmanager
def own_stack(quiet: bool = False) -> Iterator[Stack]:
    """A stack with nothing in it, which ends with the block, to the last process; its logs stay until the next one."""
    home = HOME / "test"
    names = list(Settings().ports)
    settings = Settings(home=home, shop="off", **dict(zip(names, free_ports(len(names)), strict=True)))
    chosen = {f"STACK_{name.upper()}": str(value) for name, value in settings if value is not None}
    told = {"path": str(home / NOTIFICATIONS), "text": "{{ ti.task_id }} of {{ run_id }} failed"}
    chosen |= {
        "MEDALLION_NOTIFIER": "tests.e2e.notifier.FileNotifier",
        "MEDALLION_NOTIFIER_ARGUMENTS": json.dumps(told),
        "MEDALLION_MAX_GOLD_AGE": "PT30S",  # which the first run of the schedule exceeds from its start
        # The schedule has just had its turn: for an hour none comes between a test's steps.
        "MEDALLION_SCHEDULE": f"{(datetime.now(UTC) - timedelta(minutes=1)).minute} * * * *",
    }
    stack = Stack(settings, {**os.environ, **chosen}, quiet)
    stack.run("down")  # what tests that were killed left
    shutil.rmtree(home, ignore_errors=True)
    stack.run("up")
    yield stack
    stack.run("down")
    assert supervisor.stack_processes(settings) == []


def filled(stack: Stack) -> Expected:
    """Fill the shop, from Olist's CSVs where they are, else generated; return what must come of it."""
    if olist.FOLDER.is_dir():
        stack.sample("load", str(olist.FOLDER))
        return expected_from_csv(olist.FOLDER)
    stack.sample("generate", "--orders", "3000", "--anomalies", "all")
    return stack.expected()


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The stack of these tests."""
    with own_stack() as stack:
        yield stack


@pytest.fixture(scope="session")
def history(stack: Stack) -> Expected:
    """The shop is filled. What must come of it."""
    return filled(stack)


@pytest.fixture(scope="session")
def first_run(stack: Stack, history: Expected) -> str:
    """What `make run` printed: the history in one run, then a burst of changes in another."""
    return stack.run("run")
