"""The row of each attempt: opened by the lease or the listener, closed by the task or the listener."""

from functools import partial
from types import SimpleNamespace

import psycopg
import pytest
from dbt.events.types import LogTestResult, RunResultError
from dbt_common.events.base_types import EventLevel, msg_from_base_event

from medallion.engines.postgres import transaction
from medallion.run.attempts import AttemptListener, close_attempt, run_of
from medallion.run.lease import hold_lease
from medallion.run.test_results import collect_test_result
from medallion.store.attempts import record_processed
from support.task_instance import HOURLY, Task, dag_of

from ..conftest import Query

Readings = partial(Task, task_id="bronze.readings")
ATTEMPTS = "select run_id, task_id, try_number, status from audit.data_pipeline_runs order by 1, 2, 3"
WHOLE = """
    select task_id, try_number, status, batch, records_processed, error
    from audit.data_pipeline_runs order by task_id, try_number
"""


def test_a_row_per_attempt(gold: Query) -> None:
    listener = AttemptListener()
    hold_lease(Task("a"))
    first, second = Readings("a"), Readings("a", try_number=2)
    listener.on_task_instance_running(None, first)
    assert gold(WHOLE) == [("bronze.readings", 1, "running", 1, None, None)]
    listener.on_task_instance_failed(None, first, ValueError("no such table"))
    listener.on_task_instance_running(None, second)
    close_attempt({"ti": second})
    assert gold(WHOLE) == [
        ("bronze.readings", 1, "failed", 1, None, "no such table"),
        ("bronze.readings", 2, "success", 1, None, None),
    ]
    assert gold("select distinct model_name from audit.data_pipeline_runs") == [("readings",)]
    assert gold("select count(*) from audit.data_pipeline_runs where end_time >= start_time") == [(2,)]


def test_results_of_tests_belong_to_their_attempt(gold: Query) -> None:
    AttemptListener().on_task_instance_running(None, Readings("a"))
    for name, status, failures in (("unique_key", "pass", 0), ("valid_rows", "fail", 3)):
        tested = LogTestResult(name=name, status=status, num_failures=failures)
        collect_test_result(msg_from_base_event(tested, level=EventLevel.INFO))
    collect_test_result(msg_from_base_event(RunResultError(msg="no test")))
    AttemptListener().on_task_instance_failed(None, Readings("a"), "1 test failed")
    # The next attempt does not get the results of this one.
    AttemptListener().on_task_instance_running(None, Readings("a", try_number=2))
    close_attempt({"ti": Readings("a", try_number=2)})
    assert gold(
        "select task_id, try_number, test_name, status, failures from audit.test_results order by 3"
    ) == [
        ("bronze.readings", 1, "unique_key", "pass", 0),
        ("bronze.readings", 1, "valid_rows", "fail", 3),
    ]


def test_other_dags_and_the_first_task_are_left_out(gold: Query) -> None:
    finance = dag_of(HOURLY.dag_id, ("bronze.readings",), tag="finance")
    AttemptListener().on_task_instance_running(None, Readings("a", dag=finance))
    AttemptListener().on_task_instance_running(None, Task("a", "begin"))
    # If somebody marks a task by hand, Airflow's api-server calls the listener without an operator.
    AttemptListener().on_task_instance_failed(None, SimpleNamespace(task=None), "by hand")
    assert gold(WHOLE) == []


def test_records_belong_to_the_last_attempt(gold: Query) -> None:
    for number in (1, 2):
        AttemptListener().on_task_instance_running(None, Readings("a", try_number=number))
    with transaction() as cursor:
        record_processed(cursor, run_of(Task("a")), {"bronze.readings": 12, "bronze.devices": 1})
    assert [row[4] for row in gold(WHOLE)] == [None, 12]


def test_skipped_attempt_is_closed(gold: Query) -> None:
    AttemptListener().on_task_instance_running(None, Readings("a"))
    AttemptListener().on_task_instance_skipped(None, Readings("a"))
    assert gold(ATTEMPTS) == [("a", "bronze.readings", 1, "skipped")]
    assert gold("select end_time is not null from audit.data_pipeline_runs") == [(True,)]


def test_killed_attempt_has_an_end(gold: Query) -> None:
    for number in (1, 2):
        AttemptListener().on_task_instance_running(None, Readings("a", try_number=number))
    assert gold("select status, end_time is not null from audit.data_pipeline_runs order by try_number") == [
        ("killed", True),
        ("running", False),
    ]


def test_only_attempts_of_the_same_task_and_run_are_closed(gold: Query) -> None:
    listener = AttemptListener()
    listener.on_task_instance_running(None, Readings("a"))
    listener.on_task_instance_running(None, Task("a", "bronze.devices"))
    listener.on_task_instance_running(None, Readings("b"))
    close_attempt({"ti": Readings("b")})
    assert gold(ATTEMPTS) == [
        ("a", "bronze.devices", 1, "running"),
        ("a", "bronze.readings", 1, "running"),
        ("b", "bronze.readings", 1, "success"),
    ]


def test_ended_attempt_is_not_called_killed(gold: Query) -> None:
    listener = AttemptListener()
    listener.on_task_instance_running(None, Readings("a"))
    listener.on_task_instance_failed(None, Readings("a"), "no such table")
    listener.on_task_instance_running(None, Readings("a", try_number=2))
    assert [row[2:] for row in gold(ATTEMPTS)] == [(1, "failed"), (2, "running")]


def test_batch_of_a_attempt_is_that_of_its_own_run(gold: Query) -> None:
    hold_lease(Task("a"))
    AttemptListener().on_task_instance_running(None, Readings("a"))
    AttemptListener().on_task_instance_running(None, Readings("b"))
    assert gold("select run_id, batch from audit.data_pipeline_runs order by 1") == [("a", 1), ("b", None)]


def test_long_error_is_cut(gold: Query) -> None:
    AttemptListener().on_task_instance_running(None, Readings("a"))
    AttemptListener().on_task_instance_failed(None, Readings("a"), ValueError("x" * 5000))
    assert gold("select error from audit.data_pipeline_runs") == [("x" * 2000,)]


def test_attempt_whose_success_can_not_be_recorded_fails(
    gold: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    AttemptListener().on_task_instance_running(None, Readings("a"))
    monkeypatch.setenv("AIRFLOW_CONN_MEDALLION_GOLD", '{"conn_type": "postgres", "host": "/nowhere"}')
    with pytest.raises(psycopg.OperationalError):
        close_attempt({"ti": Readings("a")})
    assert gold(ATTEMPTS) == [("a", "bronze.readings", 1, "running")]


def test_attempt_of_a_run_that_was_deleted_and_recreated_starts_again(gold: Query) -> None:
    AttemptListener().on_task_instance_running(None, Readings("a"))
    close_attempt({"ti": Readings("a")})
    [(before,)] = gold("select start_time from audit.data_pipeline_runs")
    AttemptListener().on_task_instance_running(None, Readings("a"))
    assert gold("select status, start_time > %s, end_time from audit.data_pipeline_runs", (before,)) == [
        ("running", True, None)
    ]


def test_task_that_takes_the_lease_itself_has_its_batch(gold: Query) -> None:
    audit = Task("a", "audit")
    AttemptListener().on_task_instance_running(None, audit)
    assert gold("select batch from audit.data_pipeline_runs") == [(None,)]
    hold_lease(audit)
    assert gold("select batch from audit.data_pipeline_runs") == [(1,)]


def test_each_attempt_has_the_layer_and_role_of_its_task(gold: Query) -> None:
    for task in (Readings("a"), Task("a", "silver_staging.test"), Task("a", "publish"), Task("a", "end")):
        AttemptListener().on_task_instance_running(None, task)
    assert gold("select task_id, layer, role from audit.data_pipeline_runs order by 1") == [
        ("bronze.readings", "bronze", "build"),
        ("end", None, "watch"),
        ("publish", None, "publish"),
        ("silver_staging.test", "silver_staging", "test"),
    ]
