"""The row of each try: opened by the lease or the listener, closed by the task or the listener, among others."""

from functools import partial
from types import SimpleNamespace

import psycopg
import pytest
from dbt.events.types import LogTestResult, RunResultError
from dbt_common.events.base_types import EventLevel, msg_from_base_event

from medallion.engines.postgres import transaction
from medallion.run.attempts import AttemptListener, close_attempt, record_processed
from medallion.run.lease import hold_lease
from medallion.run.test_results import collect_test_result
from support.task_instance import Task

from ..conftest import Query

Orders = partial(Task, task_id="bronze.readings")
TRIES = "select run_id, task_id, try_number, status from audit.data_pipeline_runs order by 1, 2, 3"
WHOLE = """
    select task_id, try_number, status, batch, records_processed, error
    from audit.data_pipeline_runs order by task_id, try_number
"""


def test_a_row_per_try(gold: Query) -> None:
    listener = AttemptListener()
    hold_lease(Task("a"))
    first, second = Orders("a"), Orders("a", try_number=2)
    listener.on_task_instance_running(None, first)
    assert gold(WHOLE) == [("bronze.readings", 1, "running", 1, None, None)]
    listener.on_task_instance_failed(None, first, ValueError("no such table"))
    listener.on_task_instance_running(None, second)
    close_attempt({"ti": second})
    assert gold(WHOLE) == [
        ("bronze.readings", 1, "failed", 1, None, "no such table"),
        ("bronze.readings", 2, "success", 1, None, None),
    ]
    assert gold("select distinct model_name from audit.data_pipeline_runs") == [("orders",)]
    assert gold("select count(*) from audit.data_pipeline_runs where end_time >= start_time") == [(2,)]


def test_what_tests_found_is_kept_with_the_try(gold: Query) -> None:
    AttemptListener().on_task_instance_running(None, Orders("a"))
    for name, status, failures in (("unique_key", "pass", 0), ("valid_rows", "fail", 3)):
        tested = LogTestResult(name=name, status=status, num_failures=failures)
        collect_test_result(msg_from_base_event(tested, level=EventLevel.INFO))
    collect_test_result(msg_from_base_event(RunResultError(msg="of no test")))
    AttemptListener().on_task_instance_failed(None, Orders("a"), "1 test failed")
    # The next try has its own.
    AttemptListener().on_task_instance_running(None, Orders("a", try_number=2))
    close_attempt({"ti": Orders("a", try_number=2)})
    assert gold(
        "select task_id, try_number, test_name, status, failures from audit.test_results order by 3"
    ) == [
        ("bronze.readings", 1, "unique_key", "pass", 0),
        ("bronze.readings", 1, "valid_rows", "fail", 3),
    ]


def test_other_dags_and_the_first_task_are_left_out(gold: Query) -> None:
    AttemptListener().on_task_instance_running(None, Orders("a", tags=("finance",)))
    AttemptListener().on_task_instance_running(None, Task("a", task_id="begin"))
    # As Airflow's api-server tells of a task that somebody marks by hand: no operator is there.
    AttemptListener().on_task_instance_failed(None, SimpleNamespace(task=None), "by hand")
    assert gold(WHOLE) == []


def test_records_belong_to_the_last_try(gold: Query) -> None:
    for number in (1, 2):
        AttemptListener().on_task_instance_running(None, Orders("a", try_number=number))
    with transaction() as cursor:
        record_processed(cursor, Task("a", task_id="audit"), {"bronze.readings": 12, "bronze.devices": 1})
    assert [row[4] for row in gold(WHOLE)] == [None, 12]


def test_skipped_try_is_closed(gold: Query) -> None:
    AttemptListener().on_task_instance_running(None, Orders("a"))
    AttemptListener().on_task_instance_skipped(None, Orders("a"))
    assert gold(TRIES) == [("a", "bronze.readings", 1, "skipped")]
    assert gold("select end_time is not null from audit.data_pipeline_runs") == [(True,)]


def test_killed_try_has_an_end(gold: Query) -> None:
    for number in (1, 2):
        AttemptListener().on_task_instance_running(None, Orders("a", try_number=number))
    assert gold("select status, end_time is not null from audit.data_pipeline_runs order by try_number") == [
        ("killed", True),
        ("running", False),
    ]


def test_only_tries_of_the_same_task_and_run_are_closed(gold: Query) -> None:
    listener = AttemptListener()
    listener.on_task_instance_running(None, Orders("a"))
    listener.on_task_instance_running(None, Task("a", task_id="bronze.devices"))
    listener.on_task_instance_running(None, Orders("b"))
    close_attempt({"ti": Orders("b")})
    assert gold(TRIES) == [
        ("a", "bronze.readings", 1, "running"),
        ("a", "bronze.devices", 1, "running"),
        ("b", "bronze.readings", 1, "success"),
    ]


def test_ended_try_is_not_called_killed(gold: Query) -> None:
    listener = AttemptListener()
    listener.on_task_instance_running(None, Orders("a"))
    listener.on_task_instance_failed(None, Orders("a"), "no such table")
    listener.on_task_instance_running(None, Orders("a", try_number=2))
    assert [row[2:] for row in gold(TRIES)] == [(1, "failed"), (2, "running")]


def test_batch_of_a_try_is_that_of_its_own_run(gold: Query) -> None:
    hold_lease(Task("a"))
    AttemptListener().on_task_instance_running(None, Orders("a"))
    AttemptListener().on_task_instance_running(None, Orders("b"))
    assert gold("select run_id, batch from audit.data_pipeline_runs order by 1") == [("a", 1), ("b", None)]


def test_long_error_is_cut(gold: Query) -> None:
    AttemptListener().on_task_instance_running(None, Orders("a"))
    AttemptListener().on_task_instance_failed(None, Orders("a"), ValueError("x" * 5000))
    assert gold("select error from audit.data_pipeline_runs") == [("x" * 2000,)]


def test_try_whose_success_can_not_be_noted_fails(gold: Query, monkeypatch: pytest.MonkeyPatch) -> None:
    AttemptListener().on_task_instance_running(None, Orders("a"))
    monkeypatch.setenv("AIRFLOW_CONN_MEDALLION_GOLD", '{"conn_type": "postgres", "host": "/nowhere"}')
    with pytest.raises(psycopg.OperationalError):
        close_attempt({"ti": Orders("a")})
    assert gold(TRIES) == [("a", "bronze.readings", 1, "running")]


def test_try_of_a_run_that_was_deleted_and_made_again_starts_anew(gold: Query) -> None:
    AttemptListener().on_task_instance_running(None, Orders("a"))
    close_attempt({"ti": Orders("a")})
    [(before,)] = gold("select start_time from audit.data_pipeline_runs")
    AttemptListener().on_task_instance_running(None, Orders("a"))
    assert gold("select status, start_time > %s, end_time from audit.data_pipeline_runs", (before,)) == [
        ("running", True, None)
    ]
