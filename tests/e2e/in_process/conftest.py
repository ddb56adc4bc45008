"""The pipeline on warm engines. Its tests come last on the stack: they drop what the others left."""

from collections.abc import Iterator

import pytest
from pyiceberg.utils.config import Config

from stack import supervisor
from stack.airflow_api import AirflowApi
from stack.environment import environment
from stack.lifecycle import AIRFLOW
from stack.pipeline import DAG
from support.waiting import wait_until

from ..conftest import Stack
from .pipeline import WarmPipeline, in_environment


@pytest.fixture(scope="session")
def pipeline(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmPipeline]:
    """The tasks on warm engines, while Airflow rests. Nothing that other tests left is kept, nor is anything after."""
    with AirflowApi(stack.settings) as airflow:
        wait_until(lambda: all(run["state"] != "running" for run in airflow.active(DAG)))
    # The schedule begins no run, and Airflow takes no share of the processor.
    for service in AIRFLOW:
        supervisor.stop(service, stack.settings)
    found = environment(stack.settings)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in in_environment(found).items():
            patch.setenv(name, value)
        patch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())  # read once, as it was imported
        pipeline = WarmPipeline(found, stack.dbt, tmp_path_factory.mktemp("warm") / "silver.log")
        yield pipeline
        pipeline.close()
