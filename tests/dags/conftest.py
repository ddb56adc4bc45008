"""The DAGs as Airflow's dag-processor loads them: no engine, no network, no database."""

import subprocess
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

DAGS = Path(__file__).parents[2] / "dags"


def forbidden(*arguments: object, **options: object) -> None:
    raise AssertionError(f"loading a DAG must not do this: {arguments}")


@pytest.fixture(scope="session")
def dag_bag() -> DagBag:
    """All DAGs, loaded while nothing may be connected to or started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("socket.socket.connect", forbidden)
        patch.setattr(subprocess, "Popen", forbidden)
        return DagBag(DAGS)


@pytest.fixture(scope="session")
def hourly(dag_bag: DagBag) -> DAG:
    """The hourly DAG."""
    return dag_bag.dags["medallion_hourly"]


@pytest.fixture(scope="session")
def reconcile(dag_bag: DagBag) -> DAG:
    """The daily reconciliation."""
    return dag_bag.dags["medallion_reconcile"]
