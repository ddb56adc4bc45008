"""Runs that ask for the lease at the same moment."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from medallion.run.lease import try_lease
from medallion.store.pipeline import Run
from support.task_instance import RECONCILE, Task

from ..conftest import Query

RUNS = [f"run {number}" for number in range(6)]


@pytest.mark.parametrize("left_by", [None, "ended"], ids=["free", "of a run that ended"])
def test_one_of_many_takes_it(gold: Query, left_by: str | None) -> None:
    if left_by:
        try_lease(Task(left_by))
    begin = Barrier(len(RUNS))

    def take(run: str) -> Run | None:
        begin.wait(timeout=30)
        return try_lease(Task(run, runs=dict.fromkeys(RUNS, "running") | {"ended": "success"}))

    with ThreadPoolExecutor(len(RUNS)) as pool:
        refused = dict(zip(RUNS, pool.map(take, RUNS), strict=True))
    [taken] = [run for run, holder in refused.items() if holder is None]
    assert {holder for holder in refused.values() if holder} == {Run("medallion_hourly", taken)}
    assert gold("select lease_run_id, last_batch from audit.pipeline") == [(taken, 2 if left_by else 1)]


def test_run_that_waits_to_be_started_again_holds_up_nobody(gold: Query) -> None:
    """Run b takes the lease of the queued run a. Airflow runs one run of a DAG at a time, so a may be waiting for b."""
    try_lease(Task("a"))
    left = {"bronze.x": "success", "gold.x": "failed", "begin": "None"}
    assert try_lease(Task("b", runs={"a": "queued"}, states=left)) is None


@pytest.mark.parametrize("state", ["running", "deferred", "queued", "restarting"])
def test_run_that_was_cleared_under_a_running_task_keeps_it(gold: Query, state: str) -> None:
    try_lease(Task("a"))
    other = Task("b", runs={"a": "queued"}, states={"gold.x": state, "gold.y": "success"})
    assert try_lease(other) == Run("medallion_hourly", "a")


@pytest.mark.parametrize("state", ["running", "deferred", "queued"])
def test_paused_dag_whose_task_still_runs_keeps_it(gold: Query, state: str) -> None:
    try_lease(Task("a"))
    other = Task("b", runs={"a": "running"}, paused=True, states={"gold.x": state, "gold.y": "success"})
    assert try_lease(other) == Run("medallion_hourly", "a")


def test_same_run_id_of_another_dag_is_another_run(gold: Query) -> None:
    try_lease(Task("a"))
    other = Task("a", dag=RECONCILE, runs={"a": "running"})
    assert try_lease(other) == Run("medallion_hourly", "a")
