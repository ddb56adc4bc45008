"""The engines that tests of bronze share."""

from collections.abc import Iterator

import pytest

from support.engines import Engines, start_engines


@pytest.fixture(scope="session")
def engines() -> Iterator[Engines]:
    """Start PostgreSQL and Trino, and stop them after the tests."""
    with start_engines() as engines:
        yield engines
