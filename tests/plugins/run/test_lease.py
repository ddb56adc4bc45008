"""One run writes at a time."""

from typing import Any

import pytest
from tenacity import stop_after_attempt, stop_after_delay

from medallion.run.attempts import AttemptListener
from medallion.run.lease import (
    LeaseHeldError,
    ask_lease,
    hold_lease,
    release,
    try_lease,
    wait_for_open_attempts,
)
from medallion.store.pipeline import Run
from support.task_instance import Task

from ..conftest import Query


def batch(gold: Query) -> int:
    return int(gold("select lease_batch from audit.pipeline")[0][0])


def test_free_lease_is_taken_with_a_new_batch(gold: Query) -> None:
    assert try_lease(Task("a")) is None
    assert gold("select lease_dag_id, lease_run_id, lease_batch, last_batch from audit.pipeline") == [
        ("medallion_hourly", "a", 1, 1)
    ]


def test_holder_keeps_lease_and_batch(gold: Query) -> None:
    hold_lease(Task("a"))
    hold_lease(Task("a", "gold.readings_by_day"))
    assert batch(gold) == 1


def test_lease_of_a_running_run_is_refused_by_its_name(gold: Query) -> None:
    hold_lease(Task("a"))
    other = Task("b", runs={"a": "running"})
    assert try_lease(other) == Run("medallion_hourly", "a")
    with pytest.raises(LeaseHeldError, match="Run a of DAG medallion_hourly holds the lease"):
        hold_lease(other)
    assert batch(gold) == 1


@pytest.mark.parametrize("state", ["success", "failed", None])
def test_lease_of_a_run_that_ended_or_is_gone_is_taken_over(gold: Query, state: str | None) -> None:
    hold_lease(Task("a"))
    assert try_lease(Task("b", runs={"a": state} if state else {})) is None
    assert batch(gold) == 2


def test_lease_of_a_paused_dag_is_free_once_none_of_its_tasks_runs(gold: Query) -> None:
    hold_lease(Task("a"))
    waiting: dict[str, Any] = {"runs": {"a": "running"}, "paused": True}
    assert try_lease(Task("b", **waiting, states={"gold.x": "running"})) == Run("medallion_hourly", "a")
    assert try_lease(Task("b", **waiting, states={"gold.x": "success", "gold.y": "up_for_retry"})) is None


def test_lease_of_a_dag_whose_file_is_gone_is_free_once_none_of_its_tasks_runs(gold: Query) -> None:
    hold_lease(Task("a"))
    waiting: dict[str, Any] = {"runs": {"a": "running"}, "dag_file": "removed.py"}
    assert try_lease(Task("b", **waiting, states={"gold.x": "running"})) == Run("medallion_hourly", "a")
    assert try_lease(Task("b", **waiting, states={"gold.x": "success", "gold.y": "up_for_retry"})) is None


RUNNING = dict.fromkeys("abcd", "running")


def ask(run: str, **runs: str) -> Run | None:
    return ask_lease(Task(run, runs=RUNNING | runs))


def test_runs_get_it_in_the_order_in_which_they_asked(gold: Query) -> None:
    assert ask("a") is None
    for run in "bcbc":
        assert ask(run) == Run("medallion_hourly", "a")
    release(Task("a"))
    assert ask("c") == ask("d") == Run("medallion_hourly", "b")
    assert ask("b") is None
    release(Task("b"))
    assert ask("d") == Run("medallion_hourly", "c")
    assert ask("c") is None
    assert gold("select run_id from audit.lease_queue") == [("d",)]


def test_run_that_ended_while_it_waited_is_passed_over(gold: Query) -> None:
    for run in "abc":
        ask(run)
    release(Task("a"))
    assert ask("c", b="failed") == Run("medallion_hourly", "b")
    assert ask("c", b="failed") is None


def test_run_that_asks_no_more_is_passed_over(gold: Query) -> None:
    for run in "abc":
        ask(run)
    release(Task("a"))
    gold("update audit.lease_queue set seen_at = now() - interval '299 s' where run_id = 'b'")
    assert ask("c") == Run("medallion_hourly", "b")
    gold("update audit.lease_queue set seen_at = now() - interval '301 s' where run_id = 'b'")
    assert ask("c") is None
    assert gold("select run_id from audit.lease_queue") == []


def test_holder_that_asks_again_does_not_wait_behind_those_in_the_queue(gold: Query) -> None:
    for run in "aba":
        assert ask(run) == (None if run == "a" else Run("medallion_hourly", "a"))
    assert batch(gold) == 1
    assert gold("select run_id from audit.lease_queue") == [("b",)]


def test_published_batch_is_not_written_under_again(gold: Query) -> None:
    hold_lease(Task("a"))
    gold("insert into gold.publication values ('a', 1, null, now())")
    # Somebody clears a task after the publication, and before the run has released the lease.
    hold_lease(Task("a", "bronze.readings", try_number=2))
    hold_lease(Task("a", "gold.readings_by_day", try_number=2))
    assert batch(gold) == 2


def test_leftovers_are_ended_before_a_batch_is_drawn(gold: Query, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ConnectionError("Trino does not answer")

    monkeypatch.setattr("medallion.run.lease.end_all_leftovers", fail)
    with pytest.raises(ConnectionError):
        try_lease(Task("a"))
    assert gold("select lease_run_id, last_batch from audit.pipeline") == [(None, 0)]


def test_task_that_outlives_its_run_ends_before_leftovers_are_ended(
    gold: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If somebody marks a run as failed, Airflow ends its processes some seconds later."""
    stopped = Task("a", "bronze.readings")
    hold_lease(stopped)
    seen = []
    statuses = "select status from audit.data_pipeline_runs"
    monkeypatch.setattr("medallion.run.lease.end_all_leftovers", lambda: seen.extend(gold(statuses)))
    monkeypatch.setattr(wait_for_open_attempts.retry, "stop", stop_after_delay(60))
    monkeypatch.setattr(
        wait_for_open_attempts.retry,
        "sleep",
        lambda _: AttemptListener().on_task_instance_failed(None, stopped, "killed"),
    )
    hold_lease(Task("b", runs={"a": "failed"}))
    assert seen == [("failed",)]


def test_attempt_whose_process_is_gone_is_waited_for_no_longer_than_one_lives(
    gold: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_lease(Task("a", "bronze.readings"))
    waits: list[float] = []
    monkeypatch.setattr(wait_for_open_attempts.retry, "stop", stop_after_attempt(3))
    monkeypatch.setattr(wait_for_open_attempts.retry, "sleep", waits.append)
    hold_lease(Task("b", runs={"a": "failed"}))
    assert (len(waits), batch(gold)) == (2, 2)


def test_only_the_holder_releases_it(gold: Query) -> None:
    hold_lease(Task("a"))
    release(Task("b"))
    assert batch(gold) == 1
    release(Task("a"))
    assert gold("select lease_run_id, lease_batch, last_batch from audit.pipeline") == [(None, None, 1)]
    hold_lease(Task("b"))
    assert batch(gold) == 2
