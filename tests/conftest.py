"""Fixtures that tests of several folders use, and how processes share the tests."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from support.postgres import Server, postgres_server

# Engines run beside the tests, so that the time of an example says nothing about it.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Folders whose tests share a running stack.
STACKS = ("tests/e2e/in_process/", "tests/e2e/")


class OneStackEach(LoadScopeScheduling):
    """Gives all tests of a stack to one process, and the other tests file by file."""

    def _split_scope(self, nodeid: str) -> str:
        stack = next((folder for folder in STACKS if nodeid.startswith(folder)), None)
        return stack or nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneStackEach:
    """Share the tests between the processes of `--numprocesses`."""
    return OneStackEach(config, log)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """Start an empty PostgreSQL, yield it, and stop it after the tests."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_dsn(postgres: Server) -> str:
    """Return the URL of the server's database `postgres` for the superuser."""
    return postgres.url()
