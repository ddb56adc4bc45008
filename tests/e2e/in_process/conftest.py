"""The pipeline without Airflow. These tests come last on the stack, because they drop the tables of earlier tests."""

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
from .pipeline import InProcessPipeline, client_variables


@pytest.fixture(scope="session")
def pipeline(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcessPipeline]:
    """Stop Airflow and yield the pipeline, which runs its tasks in this process."""
    with AirflowApi(stack.settings) as airflow:
        wait_until(lambda: all(run["state"] != "running" for run in airflow.active(DAG)))
    # Without Airflow no scheduled run starts, and the engines have the whole processor.
    for service in AIRFLOW:
        supervisor.stop(service, stack.settings)
    variables = environment(stack.settings)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in client_variables(variables).items():
            patch.setenv(name, value)
        # pyiceberg read the variables when it was imported.
        patch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())
        pipeline = InProcessPipeline(variables, stack.dbt, tmp_path_factory.mktemp("spark") / "server.log")
        yield pipeline
        pipeline.close()
