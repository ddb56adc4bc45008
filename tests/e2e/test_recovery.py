"""Each component is killed once, over the layers of two runs; `make chaos` kills each in every layer."""

import pytest

from .chaos import Kill, endure, show_kills
from .conftest import Stack

pytestmark = pytest.mark.long


@pytest.mark.parametrize(
    "kills",
    [
        [
            Kill("trino", "bronze"),
            Kill("spark driver", "entities"),
            Kill("thrift", "silver"),
            Kill("postgres", "stage"),
        ],
        [
            Kill("scheduler", "bronze"),
            Kill("task", "silver"),
            Kill("dag-processor", "gold"),
            Kill("api-server", "publish"),
        ],
    ],
    ids=["engines", "airflow"],
)
def test_run_finishes_by_its_retries(stack: Stack, first_run: str, kills: list[Kill]) -> None:
    run = endure(stack, kills)
    show_kills([run])
    assert all(kill.killed for kill in run.kills), run
    assert run.equal, run
