"""Fixtures that tests of several folders use."""

from collections.abc import Iterator

import pytest

from support.postgres import Server, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """Start an empty PostgreSQL, yield it, and stop it after the tests."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_dsn(postgres: Server) -> str:
    """Return the URL of the server's database `postgres` for the superuser."""
    return postgres.url()
