"""A run in which each component is killed once, in some layer. `make chaos` kills each component in every layer."""

from .chaos import COMPONENTS, Kill, run_with_kills, show_kills
from .conftest import Stack

KILLS = [
    Kill("scheduler", "bronze"),
    Kill("spark driver", "silver_staging"),
    Kill("dag-processor", "silver_staging"),
    Kill("thrift", "silver_marts"),
    Kill("task", "gold"),
    Kill("trino", "gold"),
    Kill("postgres", "stage"),
    Kill("api-server", "publish"),
]


def test_run_finishes_by_its_retries(stack: Stack, first_run: str) -> None:
    assert {kill.component for kill in KILLS} == COMPONENTS.keys()
    run = run_with_kills(stack, KILLS)
    show_kills([run])
    assert all(kill.processes for kill in run.kills), run
    assert run.has_recovered, run
