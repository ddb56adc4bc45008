"""Notifications of late gold and of findings, on a real gold database."""

import asyncio
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse
from airflow.utils.types import DagRunType

from medallion.engines.postgres import transaction
from medallion.run.lease import try_lease
from medallion.settings import settings
from medallion.store.findings import Finding, FindingKind, clear_findings, record_findings
from medallion.tasks import alerts
from medallion.tasks.alerts import end_run, report_late_gold
from support.postgres import Server
from support.task_instance import Task

from ..conftest import Query

PUBLISHED = "insert into gold.publication values ('earlier', 1, now() - interval '{} minutes', now())"


class Notifier:
    """Keeps each notification as (text, task id, run id)."""

    received: list[tuple[str, str, str]]

    def __init__(self, text: str) -> None:
        self.text = text

    def __call__(self, context: Any) -> None:
        self.received.append((self.text, context["ti"]["task_id"], context["run_id"]))


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """Collect the notifications. By default gold counts as late when it is older than three hours."""
    monkeypatch.setattr(Notifier, "received", [], raising=False)
    monkeypatch.setenv("MEDALLION_NOTIFIER", f"{__name__}.Notifier")
    monkeypatch.setenv("MEDALLION_NOTIFIER_ARGUMENTS", '{"text": "late"}')
    settings.cache_clear()
    return Notifier.received


def miss_deadline(run_type: str = "scheduled") -> None:
    run = {"dag_id": "medallion_hourly", "dag_run_id": "a", "run_type": run_type}
    asyncio.run(report_late_gold({"dag_run": run, "deadline": {}}))


@pytest.mark.parametrize(
    "publication",
    [
        None,
        PUBLISHED.format(181),
        "insert into gold.publication values ('empty', 1, null, now())",
        "drop table gold.publication",
    ],
)
def test_old_or_unknown_gold_is_reported(
    gold: Query, received: list[tuple[str, str, str]], publication: str | None
) -> None:
    if publication:
        gold(publication)
    miss_deadline()
    assert received == [("late", "deadline", "a")]


def test_gold_whose_age_cannot_be_read_for_a_lock_is_reported(
    gold: Query, received: list[tuple[str, str, str]], postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    gold(PUBLISHED.format(1))
    monkeypatch.setattr(alerts, "transaction", partial(transaction, lock_limit=timedelta(milliseconds=50)))
    with psycopg.connect(postgres.url(database="bi")) as holder:
        holder.execute("lock table gold.publication")
        miss_deadline()
    assert received == [("late", "deadline", "a")]


def test_gold_that_another_run_published_since_is_not_late(
    gold: Query, received: list[tuple[str, str, str]]
) -> None:
    gold(PUBLISHED.format(179))
    miss_deadline()
    assert received == []


def end(run_type: str = "scheduled", paused: bool = False, run: str = "a") -> None:
    """Run the task `end` of a run of this type."""
    dag_run = SimpleNamespace(run_type=DagRunType(run_type))
    end_run(ti=Task(run, "end", paused=paused), run_id=run, dag_run=dag_run)


def test_finding_reaches_the_notifier_once_and_again_if_it_was_gone(
    gold: Query, received: list[tuple[str, str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    finding = Finding(FindingKind.NEW_VALUE, "devices.site: pix", "devices.site has the value 'pix'")

    def find() -> None:
        with transaction() as cursor:
            record_findings(cursor, [finding])
        end()

    find()
    find()
    assert received == [("late", "new_value", "a")]
    assert "has the value 'pix'" in caplog.text
    with transaction() as cursor:
        clear_findings(cursor, finding.kind, but=[])
    find()
    assert len(received) == 2


def test_notifier_that_fails_keeps_no_lease_and_is_tried_again(
    gold: Query, received: list[tuple[str, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Notifier, context: Any) -> None:
        raise RuntimeError("no mail today")

    try_lease(Task("a"))
    with transaction() as cursor:
        record_findings(cursor, [Finding(FindingKind.NEW_VALUE, "devices.site: pix", "…")])
    with monkeypatch.context() as patch:
        patch.setattr(Notifier, "__call__", fail)
        end()
    assert gold("select lease_run_id from audit.pipeline") == [(None,)]
    end()
    assert received == [("late", "new_value", "a")]


def kinds(received: list[tuple[str, str, str]]) -> list[str]:
    """Return the kinds of the notifications since the last call."""
    names = sorted(kind for _, kind, _ in received)
    received.clear()
    return names


STATES = "select kind, subject, message from audit.findings where cleared_at is null order by 1, 2"


def test_held_publication_is_reported_and_once_gold_is_old_that_too(
    gold: Query, received: list[tuple[str, str, str]]
) -> None:
    gold(PUBLISHED.format(10))
    end()
    assert kinds(received) == []
    gold("update audit.pipeline set held_by = 'the roll-back'")
    end()
    end()
    assert kinds(received) == ["publishing_held"]
    [(_, _, message)] = gold(STATES)
    assert "rolled back by the roll-back" in message and "make resume" in message
    gold("update gold.publication set window_end = now() - interval '181 minutes'")
    end()
    assert kinds(received) == ["stale_gold"]
    gold("update audit.findings set reported_at = now() - interval '25 hours'")
    end("backfill")
    assert kinds(received) == []
    end("manual")
    assert kinds(received) == ["publishing_held", "stale_gold"]
    gold("update audit.pipeline set held_by = null; update gold.publication set window_end = now()")
    end()
    assert kinds(received) == [] and gold(STATES) == []


def test_paused_dags_are_reported(gold: Query, received: list[tuple[str, str, str]]) -> None:
    end(paused=True)
    assert kinds(received) == ["paused_dag"] * 3
    end()
    end(paused=True)
    assert kinds(received) == ["paused_dag"] * 3
    assert [subject for _, subject, _ in gold(STATES)] == [
        "medallion_hourly", "medallion_maintenance", "medallion_reconcile",
    ]  # fmt: skip


def test_dag_that_was_taken_out_is_not_missed(
    gold: Query, received: list[tuple[str, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Task, dag_id: str) -> None:
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR))

    monkeypatch.setattr(Task, "get_dag", refuse)
    end()
    assert kinds(received) == []


@pytest.mark.parametrize(
    ("attempts", "missed"),
    [
        ("('medallion_hourly', 'devices', 'success', 72)", ["devices"]),
        ("('medallion_hourly', 'devices', 'success', 47)", []),  # a new table
        (
            "('medallion_hourly', 'devices', 'success', 72), ('medallion_reconcile', 'devices', 'success', 47)",
            [],
        ),
        (
            "('medallion_reconcile', 'devices', 'success', 49), ('medallion_reconcile', 'devices', 'failed', 25)",
            ["devices"],
        ),
        ("('medallion_hourly', 'removed', 'success', 72)", []),
    ],
)
def test_table_that_no_reconciliation_compares_is_reported(
    gold: Query, received: list[tuple[str, str, str]], attempts: str, missed: list[str]
) -> None:
    gold(
        "insert into audit.data_pipeline_runs"
        " (dag_id, run_id, task_id, try_number, model_name, layer, start_time, end_time, status)"
        " select dag, hours::text, 'bronze.' || model, 1, model, 'bronze', at, at, status"
        f" from (values {attempts}) as attempts (dag, model, status, hours),"
        " lateral (select now() - make_interval(hours => hours) as at) as moment"
    )
    end()
    assert [subject for _, subject, _ in gold(STATES)] == missed
    assert kinds(received) == ["not_reconciled"] * len(missed)


def test_backfill_makes_nothing_late(gold: Query, received: list[tuple[str, str, str]]) -> None:
    miss_deadline("backfill")
    assert received == []
