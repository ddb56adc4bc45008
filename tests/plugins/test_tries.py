"""The row of each try, told by the listener, among other runs and tries."""

from medallion.audit import TryListener
from medallion.lease import hold_lease
from task_instance import Task

from .conftest import Gold

TRIES = "select run_id, task_id, try_number, status from audit.data_pipeline_runs order by 1, 2, 3"


def test_skipped_try_is_closed(gold: Gold) -> None:
    TryListener().on_task_instance_running(None, Task("a"))
    TryListener().on_task_instance_skipped(None, Task("a"))
    assert gold(TRIES) == [("a", "bronze.orders", 1, "skipped")]
    assert gold("select end_time is not null from audit.data_pipeline_runs") == [(True,)]


def test_killed_try_has_an_end(gold: Gold) -> None:
    for number in (1, 2):
        TryListener().on_task_instance_running(None, Task("a", try_number=number))
    assert gold("select status, end_time is not null from audit.data_pipeline_runs order by try_number") == [
        ("killed", True),
        ("running", False),
    ]


def test_only_tries_of_the_same_task_and_run_are_closed(gold: Gold) -> None:
    listener = TryListener()
    listener.on_task_instance_running(None, Task("a"))
    listener.on_task_instance_running(None, Task("a", task_id="bronze.sellers"))
    listener.on_task_instance_running(None, Task("b"))
    listener.on_task_instance_success(None, Task("b"))
    assert gold(TRIES) == [
        ("a", "bronze.orders", 1, "running"),
        ("a", "bronze.sellers", 1, "running"),
        ("b", "bronze.orders", 1, "success"),
    ]


def test_ended_try_is_not_called_killed(gold: Gold) -> None:
    listener = TryListener()
    listener.on_task_instance_running(None, Task("a"))
    listener.on_task_instance_failed(None, Task("a"), "no such table")
    listener.on_task_instance_running(None, Task("a", try_number=2))
    assert [row[2:] for row in gold(TRIES)] == [(1, "failed"), (2, "running")]


def test_batch_of_a_try_is_that_of_its_own_run(gold: Gold) -> None:
    hold_lease(Task("a"))
    TryListener().on_task_instance_running(None, Task("a"))
    TryListener().on_task_instance_running(None, Task("b"))
    assert gold("select run_id, batch from audit.data_pipeline_runs order by 1") == [("a", 1), ("b", None)]


def test_long_error_is_cut(gold: Gold) -> None:
    TryListener().on_task_instance_running(None, Task("a"))
    TryListener().on_task_instance_failed(None, Task("a"), ValueError("x" * 5000))
    assert gold("select error from audit.data_pipeline_runs") == [("x" * 2000,)]
