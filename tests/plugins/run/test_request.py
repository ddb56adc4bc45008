"""The window of a run, resolved once on a real source and a real gold database."""

from datetime import UTC, datetime

import pytest

from medallion.engines.postgres import transaction
from medallion.run.lease import hold_lease
from medallion.run.request import record_window
from medallion.run.state import claim_run
from medallion.run.window import RunKind, Window
from medallion.settings import settings
from medallion.store.pipeline import request_rebuild
from support.task_instance import Task

from ..conftest import Query


def day(number: int) -> datetime:
    return datetime(2018, 1, number, tzinfo=UTC)


def insert(plant: Query, table: str, *changes: str) -> None:
    """Insert rows that last changed at these times."""
    for change in changes:
        plant(f"insert into plant.{table} (updated_at) values (%s)", (change,))


def test_without_rows_there_is_no_window_and_no_watermark(gold: Query, plant: Query) -> None:
    window = record_window(Task("a"), RunKind.MANUAL, None, None)
    assert window == {"window_start": None, "window_end": None}
    assert gold("select watermark from audit.pipeline") == [(None,)]
    assert claim_run(Task("a")).extract_from is None


def test_run_that_began_on_an_empty_source_gets_its_window_when_it_is_cleared(
    gold: Query, plant: Query
) -> None:
    hour = Window(day(3), day(3).replace(hour=1))
    assert record_window(Task("a"), RunKind.SCHEDULED, None, hour)["window_start"] is None
    [(first,)] = gold("select resolved_at from audit.runs")
    insert(plant, "devices", "2018-01-03Z")
    assert record_window(Task("a"), RunKind.BACKFILL, None, hour) == {
        "window_start": "2018-01-03T00:00:00+00:00",
        "window_end": "2018-01-03T01:00:00+00:00",
    }
    assert gold("select kind, resolved_at > %s from audit.runs", (first,)) == [("backfill", True)]


def test_time_that_no_window_reaches_is_no_beginning(gold: Query, plant: Query) -> None:
    insert(plant, "devices", "-infinity", "0044-03-15Z BC")
    insert(plant, "devices", "12018-01-03Z", "infinity")
    assert record_window(Task("a"), RunKind.MANUAL, None, None)["window_start"] is None
    insert(plant, '"Reading Log"', "infinity", "2018-01-03Z")
    assert record_window(Task("b"), RunKind.MANUAL, None, None)["window_start"] == "2018-01-03T00:00:00+00:00"


def test_history_starts_at_the_oldest_row_of_any_table(gold: Query, plant: Query) -> None:
    insert(plant, "devices", "2018-01-03Z")
    insert(plant, '"Reading Log"', "2018-01-02Z")
    window = record_window(Task("a"), RunKind.MANUAL, None, None)
    assert window["window_start"] == "2018-01-02T00:00:00+00:00"
    assert gold("select watermark from audit.pipeline") == [(day(2),)]


def test_history_starts_as_the_setting_says(
    gold: Query, plant: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(plant, "devices", "2018-01-03Z")
    monkeypatch.setenv("MEDALLION_HISTORY_START", "2017-01-01")
    settings.cache_clear()
    assert record_window(Task("a"), RunKind.MANUAL, None, None)["window_start"] == "2017-01-01T00:00:00+00:00"


def test_history_that_is_yet_to_start_keeps_no_window_waiting(
    gold: Query, plant: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert(plant, "devices", "2018-01-03Z")
    monkeypatch.setenv("MEDALLION_HISTORY_START", "2900-01-01")
    settings.cache_clear()
    record_window(Task("a"), RunKind.MANUAL, None, None)
    assert gold("select watermark <= now() from audit.pipeline") == [(True,)]


def test_cleared_run_keeps_its_window(gold: Query, plant: Query) -> None:
    insert(plant, "devices", "2018-01-03Z")
    first = record_window(Task("a"), RunKind.BACKFILL, None, Window(day(3), day(4)))
    again = record_window(Task("a", try_number=2), RunKind.BACKFILL, None, Window(day(5), day(6)))
    assert (
        first
        == again
        == {
            "window_start": "2018-01-03T00:00:00+00:00",
            "window_end": "2018-01-04T00:00:00+00:00",
        }
    )


@pytest.mark.parametrize("try_number", [1, 2], ids=["at once", "its first attempt died"])
def test_run_that_was_deleted_and_recreated_gets_the_window_it_requests(
    gold: Query, plant: Query, try_number: int
) -> None:
    insert(plant, "devices", "2018-01-03Z")
    record_window(Task("a"), RunKind.RANGED, Window(day(3), day(4)), None)
    again = record_window(Task("a", try_number=try_number), RunKind.RANGED, Window(day(5), day(6)), None)
    assert again["window_start"] == "2018-01-05T00:00:00+00:00"


def test_extraction_reaches_back_by_the_lookback(gold: Query, plant: Query) -> None:
    insert(plant, "devices", "2018-01-03Z")
    record_window(Task("a"), RunKind.RANGED, Window(day(3), day(4)), None)
    state = claim_run(Task("a"))
    assert (state.extract_from, state.extract_to) == (
        "2018-01-02 23:45:00.000000",
        "2018-01-04 00:00:00.000000",
    )


def test_deeper_rebuild_stays_until_it_is_published(gold: Query) -> None:
    hold_lease(Task("a"))
    with transaction() as cursor:
        request_rebuild(cursor, "silver")
        request_rebuild(cursor, "gold")
    assert gold("select rebuild, rebuild_batch from audit.pipeline") == [("silver", 1)]
    assert claim_run(Task("a")).base_snapshots == {}
