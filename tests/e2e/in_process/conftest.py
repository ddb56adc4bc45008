"""The engines without Airflow: a stack of its own, whose runs are in the tests' process."""

from collections.abc import Iterator

import pytest
from pyiceberg.utils.config import Config

from medallion.store.migrations import upgrade_store
from stack.environment import environment

from ..conftest import Stack, start_stack
from .pipeline import InProcessPipeline, client_variables


@pytest.fixture(scope="package")
def stack() -> Iterator[Stack]:
    """Yield the stack that these tests share, with an empty store; this process is a client of its engines."""
    with start_stack("test-engines", with_airflow=False) as stack, pytest.MonkeyPatch.context() as patch:
        for name, value in client_variables(environment(stack.settings)).items():
            patch.setenv(name, value)
        # Let pyiceberg read the variables again, which it did only when it was imported.
        patch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())
        upgrade_store()
        yield stack


@pytest.fixture(scope="package")
def pipeline(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcessPipeline]:
    """Yield the pipeline, which runs its tasks in this process; a test begins by forgetting earlier runs."""
    pipeline = InProcessPipeline(stack, tmp_path_factory.mktemp("spark") / "server.log")
    yield pipeline
    pipeline.close()
