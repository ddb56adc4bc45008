"""What the audit keeps of each try, and the share of rejected rows."""

import pytest
from airflow.sdk.exceptions import AirflowFailException

from medallion.audit import TryListener, check_rejected_share, record_processed
from medallion.database import transaction
from medallion.lease import hold_lease
from medallion.settings import settings
from task_instance import Task

from .conftest import Gold

TRIES = """
    select task_id, try_number, status, batch, records_processed, error
    from audit.data_pipeline_runs order by task_id, try_number
"""


def test_a_row_per_try(gold: Gold) -> None:
    listener = TryListener()
    hold_lease(Task("a"))
    first, second = Task("a"), Task("a", try_number=2)
    listener.on_task_instance_running(None, first)
    assert gold(TRIES) == [("bronze.orders", 1, "running", 1, None, None)]
    listener.on_task_instance_failed(None, first, ValueError("no such table"))
    listener.on_task_instance_running(None, second)
    listener.on_task_instance_success(None, second)
    assert gold(TRIES) == [
        ("bronze.orders", 1, "failed", 1, None, "no such table"),
        ("bronze.orders", 2, "success", 1, None, None),
    ]
    assert gold("select distinct model_name from audit.data_pipeline_runs") == [("orders",)]
    assert gold("select count(*) from audit.data_pipeline_runs where end_time >= start_time") == [(2,)]


def test_try_that_died_is_closed_by_the_next(gold: Gold) -> None:
    TryListener().on_task_instance_running(None, Task("a"))
    TryListener().on_task_instance_running(None, Task("a", try_number=2))
    assert [row[1:3] for row in gold(TRIES)] == [(1, "killed"), (2, "running")]


def test_other_dags_and_the_first_task_are_left_out(gold: Gold) -> None:
    TryListener().on_task_instance_running(None, Task("a", tags=("finance",)))
    TryListener().on_task_instance_running(None, Task("a", task_id="begin"))
    assert gold(TRIES) == []


def test_records_belong_to_the_last_try(gold: Gold) -> None:
    for number in (1, 2):
        TryListener().on_task_instance_running(None, Task("a", try_number=number))
    with transaction() as cursor:
        record_processed(cursor, Task("a", task_id="audit"), {"bronze.orders": 12, "bronze.sellers": 1})
    assert [row[4] for row in gold(TRIES)] == [None, 12]


def account(latest: int, rejected: int) -> dict[str, object]:
    return {"entity": "orders", "latest": latest, "rejected_latest": rejected}


@pytest.mark.parametrize(("latest", "rejected"), [(100, 5), (99, 99), (0, 0), (1000, 50)])
def test_share_within_the_limit_or_of_few_rows_passes(latest: int, rejected: int) -> None:
    check_rejected_share([account(latest, rejected)], allowed=False)


def test_share_above_the_limit_stops_the_run_by_its_figures() -> None:
    with pytest.raises(AirflowFailException, match="orders: 6 of 100 rows broke a rule, more than 5%"):
        check_rejected_share([account(10, 0), account(100, 6)], allowed=False)


def test_share_above_the_limit_may_be_let_pass(caplog: pytest.LogCaptureFixture) -> None:
    check_rejected_share([account(100, 6)], allowed=True)
    assert "Let pass" in caplog.text


def test_limit_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALLION_MAX_REJECTED_SHARE", "0.5")
    settings.cache_clear()
    check_rejected_share([account(100, 50)], allowed=False)
    with pytest.raises(AirflowFailException):
        check_rejected_share([account(100, 51)], allowed=False)
