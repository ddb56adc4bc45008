"""The window of each kind of run, computed from the intervals of the DAG's schedule and from the run's parameters."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pendulum
import pytest
from airflow.sdk import DAG
from airflow.sdk.api.datamodels._generated import DagRun
from airflow.sdk.definitions.deadline import DeadlineReference
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import DataInterval, TimeRestriction

from medallion.names import (
    BEGIN,
    BRONZE,
    END,
    FRESHNESS,
    GOLD,
    GROUPS_UP_TO,
    HOURLY_DAG,
    SILVER,
    Group,
    group_of,
)
from medallion.run.request import data_interval, run_kind_and_window
from medallion.run.window import RunKind, Window, WindowError, resolve_window
from medallion.tasks.begin import tasks_to_skip

NOW = datetime(2018, 5, 1, 12, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)


def at(hour: int) -> datetime:
    return datetime(2018, 5, 1, hour, tzinfo=UTC)


@pytest.fixture
def timetable(hourly: DAG) -> Any:
    """The DAG's timetable, serialized and deserialized as for the scheduler."""
    return DagSerialization.from_dict(DagSerialization.to_dict(hourly)).timetable


def next_run(timetable: Any, last: datetime | None, catchup: bool, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the next scheduled run, at 12:03, if the last run's interval ended at `last` (None: no run yet)."""
    monkeypatch.setattr("airflow.timetables.interval.utcnow", lambda: pendulum.instance(NOW))
    before = last and DataInterval(pendulum.instance(last - HOUR), pendulum.instance(last))
    earliest = pendulum.datetime(2016, 1, 1)
    return timetable.next_dagrun_info(
        last_automated_data_interval=before, restriction=TimeRestriction(earliest, None, catchup)
    )


def context(run_type: str, interval: tuple[datetime, datetime] | None, **params: str) -> Any:
    """Return the context of a task. Its run has the class that a worker parses from the answer of Airflow's API."""
    start, end = interval or (None, None)
    run = DagRun.model_validate(
        {
            **{name: None for name, field in DagRun.model_fields.items() if field.is_required()},
            "dag_id": HOURLY_DAG, "run_id": "r", "run_after": NOW, "state": "running", "conf": {},
            "consumed_asset_events": [], "run_type": run_type,
            "data_interval_start": start, "data_interval_end": end,
        }
    )  # fmt: skip
    return {"params": {"window_start": None, "window_end": None, "rebuild": "none", **params}, "dag_run": run}


def window(run: Any, covered_to: datetime) -> Window | None:
    kind, requested = run_kind_and_window(run)
    return resolve_window(kind, requested, data_interval(run), covered_to, NOW)


def test_runs_are_hours_of_utc_that_join_up(timetable: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = next_run(timetable, at(9), False, monkeypatch)
    assert timetable.serialize()["timezone"] == "UTC"
    assert (first.data_interval.start, first.data_interval.end, first.run_after) == (at(11), at(12), at(12))
    following = next_run(timetable, at(12), False, monkeypatch)
    assert (following.data_interval.start, following.data_interval.end) == (at(12), at(13))


def test_backfill_of_a_range_is_a_run_an_hour(hourly: DAG) -> None:
    scheduler: Any = DagSerialization.from_dict(DagSerialization.to_dict(hourly))
    infos = scheduler.iter_dagrun_infos_between(pendulum.instance(at(1)), pendulum.instance(at(3)))
    intervals = [(info.data_interval.start, info.data_interval.end) for info in infos]
    assert intervals == [(at(1), at(2)), (at(2), at(3)), (at(3), at(4))]


@pytest.mark.parametrize(
    ("run_type", "kind"),
    [
        ("scheduled", RunKind.SCHEDULED),
        ("backfill", RunKind.BACKFILL),
        ("manual", RunKind.MANUAL),
        ("operator_triggered", RunKind.MANUAL),
        ("asset_triggered", RunKind.MANUAL),
    ],
)
def test_kind_of_the_run_that_a_worker_is_given(run_type: str, kind: RunKind) -> None:
    assert run_kind_and_window(context(run_type, (at(10), at(11)))) == (kind, None)


def test_scheduled_run_ends_with_its_hour(timetable: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hour = next_run(timetable, at(11), False, monkeypatch).data_interval
    assert window(context("scheduled", (hour.start, hour.end)), at(11)) == Window(at(11), at(12))


def test_backfilled_hour_is_extracted_though_the_watermark_is_past_it() -> None:
    assert window(context("backfill", (at(1), at(2))), at(11)) == Window(at(1), at(2))


def test_manual_run_goes_from_the_watermark_to_now() -> None:
    assert window(context("manual", None), at(9)) == Window(at(9), NOW)


@pytest.mark.parametrize("run_type", ["manual", "operator_triggered", "scheduled", "backfill"])
def test_requested_range_goes_before_the_kind_of_run(run_type: str) -> None:
    run = context(run_type, (at(10), at(11)), window_start="2018-05-01T01:30", window_end="2018-05-01T02:00")
    assert window(run, at(11)) == Window(at(1) + HOUR / 2, at(2))


@pytest.mark.parametrize("run_type", ["scheduled", "backfill"])
def test_empty_data_interval_is_refused(run_type: str) -> None:
    with pytest.raises(WindowError, match="CronDataIntervalTimetable"):
        window(context(run_type, (at(12), at(12))), at(12))


def test_scheduled_run_heals_an_outage() -> None:
    assert window(context("scheduled", (at(11), at(12))), at(3)) == Window(at(3), at(12))


def test_range_ends_at_the_clock_of_the_source() -> None:
    run = context("manual", None, window_start="2018-05-01", window_end="2019-01-01")
    assert window(run, at(11)) == Window(at(0), NOW)


def test_rebuild_extracts_nothing() -> None:
    assert window(context("manual", None, rebuild="gold"), at(11)) is None


@pytest.mark.parametrize(
    ("up_to", "groups"),
    [
        (BRONZE, {Group.BRONZE}),
        (SILVER, {Group.BRONZE, Group.SILVER_STAGING, Group.SILVER_MARTS}),
        (GOLD, {Group.BRONZE, Group.SILVER_STAGING, Group.SILVER_MARTS, Group.GOLD}),
        ("publish", {*Group}),
    ],
)
def test_run_up_to_a_layer_skips_the_rest(hourly: DAG, up_to: str, groups: set[Group]) -> None:
    assert up_to in hourly.params.get_param("up_to").schema["enum"]
    skipped = set(tasks_to_skip(hourly.task_ids, RunKind.MANUAL, GROUPS_UP_TO[up_to]))
    expected = {task for task in hourly.task_ids if group_of(task) in {*groups, BEGIN, FRESHNESS, END}}
    assert set(hourly.task_ids) - skipped == expected


def test_age_of_the_source_matters_to_runs_about_now(hourly: DAG) -> None:
    skipped = {kind: tasks_to_skip(hourly.task_ids, kind, tuple(Group)) for kind in RunKind}
    assert {kind for kind, tasks in skipped.items() if not tasks} == {RunKind.SCHEDULED, RunKind.MANUAL}
    assert skipped[RunKind.BACKFILL] == [FRESHNESS]


def test_scheduled_run_is_late_once_gold_is_three_hours_old(hourly: DAG) -> None:
    [alert] = hourly.deadline
    assert (alert.reference, alert.interval) == (DeadlineReference.DAGRUN_LOGICAL_DATE, 3 * HOUR)
