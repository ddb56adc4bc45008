"""A stack without Airflow. The tests run the pipeline's tasks on its engines, in their own process."""

from collections.abc import Iterator

import pytest
from pyiceberg.utils.config import Config

from medallion.store.migrations import upgrade_store
from stack.environment import environment

from ..conftest import Stack, start_stack
from .pipeline import InProcessPipeline, client_variables


@pytest.fixture(scope="package")
def stack() -> Iterator[Stack]:
    """Yield the stack that these tests share, with empty state tables. Hooks in this process connect to its engines."""
    with start_stack("test-engines", with_airflow=False) as stack, pytest.MonkeyPatch.context() as patch:
        for name, value in client_variables(environment(stack.settings)).items():
            patch.setenv(name, value)
        # pyiceberg read the variables when it was imported, before they were set. Let it read them again.
        patch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())
        upgrade_store()
        yield stack


@pytest.fixture(scope="package")
def pipeline(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcessPipeline]:
    """Yield the pipeline that the tests share. Each test begins with `forget`, which deletes earlier runs."""
    pipeline = InProcessPipeline(stack, tmp_path_factory.mktemp("spark") / "server.log")
    yield pipeline
    pipeline.close()
