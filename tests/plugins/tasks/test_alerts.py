"""The notification of late gold, on a real gold database."""

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
import pytest

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
    """The notifications; gold may be three hours old."""
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


CONTEXT = {"ti": Task("a", "end"), "run_id": "a"}


def test_finding_reaches_the_notifier_once_and_again_if_it_was_gone(
    gold: Query, received: list[tuple[str, str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    finding = Finding(FindingKind.NEW_VALUE, "devices.site: pix", "devices.site has the value 'pix'")

    def find() -> None:
        with transaction() as cursor:
            record_findings(cursor, [finding])
        end_run(**CONTEXT)

    find()
    find()
    assert received == [("late", "new_value", "a")]
    assert "has the value 'pix'" in caplog.text
    with transaction() as cursor:
        clear_findings(cursor, finding.kind, [finding.subject])
    find()
    assert len(received) == 2


def test_notifier_that_fails_keeps_no_lease_and_is_tried_again(
    gold: Query, received: list[tuple[str, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Notifier, context: Any) -> None:
        raise RuntimeError("no mail today")

    try_lease(CONTEXT["ti"])
    with transaction() as cursor:
        record_findings(cursor, [Finding(FindingKind.NEW_VALUE, "devices.site: pix", "…")])
    with monkeypatch.context() as patch:
        patch.setattr(Notifier, "__call__", fail)
        end_run(**CONTEXT)
    assert gold("select lease_run_id from audit.pipeline") == [(None,)]
    end_run(**CONTEXT)
    assert received == [("late", "new_value", "a")]


def test_backfill_makes_nothing_late(gold: Query, received: list[tuple[str, str, str]]) -> None:
    miss_deadline("backfill")
    assert received == []
