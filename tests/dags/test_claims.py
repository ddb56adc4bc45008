"""A task claims its run, which takes the lease, in a hook before all other work. Rendering templates claims nothing."""

from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

from medallion import names
from medallion.run.lease import LeaseHeldError
from medallion.run.state import RunState
from medallion.store.pipeline import Run
from medallion.tasks import hooks

from .runs import STATE, render, start

# Tasks without a claim. `begin` takes the lease itself, when it is the run's turn; the others do not need it.
WITHOUT_CLAIM = {names.BEGIN, names.END, names.FRESHNESS, names.MEASURE}


def is_stopped_by_lease(task: Any) -> bool:
    """Return whether a task's hooks stop the task because another run holds the lease."""
    try:
        start(task)
    except LeaseHeldError:
        return True
    return False


def test_task_that_writes_or_tests_does_nothing_before_it_claims(
    dag_bag: DagBag, isolated: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the claim, a task opens no connection and starts no process, for example to end its first attempt.

    The fixture `isolated` checks this.
    """
    monkeypatch.setattr("medallion.run.lease.try_lease", lambda ti: Run("other_dag", "other_run"))
    monkeypatch.setattr("medallion.engines.leftovers.psutil.process_iter", lambda *_: [])
    for dag in dag_bag.dags.values():
        for task_id in set(dag.task_ids) - WITHOUT_CLAIM:
            assert is_stopped_by_lease(render(dag, task_id)), f"{dag.dag_id}.{task_id}"


def test_rendering_claims_nothing_and_asks_nobody(dag_bag: DagBag, isolated: None) -> None:
    for dag in dag_bag.dags.values():
        for task_id in dag.task_ids:
            render(dag, task_id)


@pytest.mark.parametrize(
    ("conf", "is_allowed"), [({}, False), ({"allow_deletes": False}, False), ({"allow_deletes": True}, True)]
)
def test_deletes_are_allowed_by_the_parameter_of_a_reconciliation(
    reconcile: DAG, monkeypatch: pytest.MonkeyPatch, conf: dict[str, bool], is_allowed: bool
) -> None:
    claims = []

    def claim_run(ti: Any, allow_deletes: bool) -> RunState:
        claims.append(allow_deletes)
        return STATE

    monkeypatch.setattr(hooks, "claim_run", claim_run)
    monkeypatch.setattr(hooks, "limit_time", lambda context: None)
    monkeypatch.setattr(hooks, "end_earlier_attempt", lambda context: None)
    writing = set(reconcile.task_ids) - WITHOUT_CLAIM
    for task_id in writing:
        start(render(reconcile, task_id), conf=conf)
    assert claims == [is_allowed] * len(writing)
