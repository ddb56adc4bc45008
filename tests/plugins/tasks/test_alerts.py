"""Who is told that gold is old, on a real gold database."""

import asyncio
import json
from pathlib import Path

import pytest

from medallion.settings import settings
from medallion.tasks.alerts import report_late_gold

from ..conftest import Query

PUBLISHED = "insert into gold.publication values ('earlier', 1, now() - interval '{} minutes', now())"


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the notifier writes; gold may be three hours old."""
    file = tmp_path / "told"
    arguments = {"path": str(file), "text": "{{ ti.task_id }} of {{ run_id }}"}
    monkeypatch.setenv("MEDALLION_NOTIFIER", "tests.e2e.notifier.FileNotifier")
    monkeypatch.setenv("MEDALLION_NOTIFIER_ARGUMENTS", json.dumps(arguments))
    settings.cache_clear()
    return file


def miss(run_type: str = "scheduled") -> None:
    """The deadline of a run passes."""
    run = {"dag_id": "medallion_hourly", "dag_run_id": "late", "run_type": run_type}
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
def test_old_or_unknown_gold_is_told(gold: Query, told: Path, publication: str | None) -> None:
    if publication:
        gold(publication)
    miss()
    assert told.read_text() == "deadline of late\n"


def test_gold_that_another_run_published_since_is_not_late(gold: Query, told: Path) -> None:
    gold(PUBLISHED.format(179))
    miss()
    assert not told.exists()


def test_backfill_makes_nothing_late(gold: Query, told: Path) -> None:
    miss("backfill")
    assert not told.exists()
