"""The DAGs as Airflow's dag-processor loads them: no engine, no network, no database."""

import subprocess
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

from medallion import names

DAGS = Path(__file__).parents[2] / "dags"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Drop the placeholder that pytest makes for a test whose parameter has no value.

    A project may have no table at all: a test over its tables then has no case.
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
    """All DAGs, loaded while every connection and every new process is an error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("socket.socket.connect", forbid)
        patch.setattr(subprocess, "Popen", forbid)
        return DagBag(DAGS)


@pytest.fixture
def isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection, every new process and every claim is an error."""
    monkeypatch.setattr("socket.socket.connect", forbid)
    monkeypatch.setattr(subprocess, "Popen", forbid)
    # PostgreSQL's library opens sockets of its own.
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
