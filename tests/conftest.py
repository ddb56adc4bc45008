"""What tests of several folders use."""

from collections.abc import Iterator

import pytest

from support.postgres import Server, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """An empty PostgreSQL, which ends with the tests."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_dsn(postgres: Server) -> str:
    """The URL of its database `postgres` for the superuser."""
    return postgres.url()
