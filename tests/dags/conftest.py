"""The DAGs, loaded as Airflow's dag-processor loads them, without an engine, a network or a database."""

import subprocess
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

from medallion import names

DAGS = Path(__file__).parents[2] / "dags"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Remove the skipped test that pytest creates for a test whose parameter has no value.

    A project may have no tables. A test that is parametrized by its tables then has no cases.
    """
    items[:] = [
        item
        for item in items
        if not any(
            "empty parameter set" in mark.kwargs.get("reason", "") for mark in item.iter_markers("skip")
        )
    ]


def forbid(*arguments: object, **options: object) -> None:
    raise AssertionError(f"this must not happen here: {arguments}")


@pytest.fixture(scope="session")
def dag_bag() -> DagBag:
    """All DAGs. If loading them opens a connection or starts a process, the test fails."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("socket.socket.connect", forbid)
        patch.setattr(subprocess, "Popen", forbid)
        return DagBag(DAGS)


@pytest.fixture
def isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test fail if it opens a connection, starts a process or asks for the lease."""
    monkeypatch.setattr("socket.socket.connect", forbid)
    monkeypatch.setattr(subprocess, "Popen", forbid)
    # PostgreSQL's C library does not use Python's sockets, so forbid its connections in the hook.
    monkeypatch.setattr("airflow.providers.postgres.hooks.postgres.PostgresHook.get_conn", forbid)
    monkeypatch.setattr("medallion.run.lease.try_lease", forbid)


@pytest.fixture(scope="session")
def hourly(dag_bag: DagBag) -> DAG:
    """The hourly DAG."""
    return dag_bag.dags[names.HOURLY_DAG]


@pytest.fixture(scope="session")
def reconcile(dag_bag: DagBag) -> DAG:
    """The daily reconciliation."""
    return dag_bag.dags[names.RECONCILE_DAG]


@pytest.fixture(scope="session")
def maintenance(dag_bag: DagBag) -> DAG:
    """The daily maintenance."""
    return dag_bag.dags[names.MAINTENANCE_DAG]
