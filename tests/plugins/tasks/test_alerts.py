"""The notification of late gold, on a real gold database."""

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
import pytest

from medallion.engines.postgres import transaction
from medallion.settings import settings
from medallion.tasks import alerts
from medallion.tasks.alerts import report_late_gold
from support.postgres import Server

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


def test_backfill_makes_nothing_late(gold: Query, received: list[tuple[str, str, str]]) -> None:
    miss_deadline("backfill")
    assert received == []
