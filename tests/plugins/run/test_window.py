"""The range of time that a run covers."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medallion.run.window import RunKind, Window, WindowError, iso, resolve_window, window_from_params
from medallion.settings import as_utc

NOW = datetime(2018, 5, 1, 12, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


def test_naive_time_means_utc_and_an_offset_is_converted() -> None:
    window = window_from_params("2018-01-01T00:00:00", "2018-01-01T03:00:00-03:00")
    assert window == Window(datetime(2018, 1, 1, tzinfo=UTC), datetime(2018, 1, 1, 6, tzinfo=UTC))


def test_no_parameters_are_no_window() -> None:
    assert window_from_params(None, None) is None
    assert window_from_params("", "") is None


@pytest.mark.parametrize("text", ["soon", "2018-13-01", "01/02/2018", "2018-02-30T00:00:00"])
def test_unparsable_time_is_named(text: str) -> None:
    with pytest.raises(WindowError, match=f"window_end = '{text}' is not a date or time: write it as"):
        window_from_params("2018-01-01", text)


@given(moments, moments, moments)
def test_scheduled_window_joins_up_with_what_is_covered(
    start: datetime, covered: datetime, now: datetime
) -> None:
    interval = Window(start, start + timedelta(hours=1))
    window = resolve_window(RunKind.SCHEDULED, None, interval, covered, now)
    if window is None:
        assert now <= min(start, covered)
    else:
        assert window.start <= covered
        assert window.end == min(interval.end, now)


@given(moments, moments)
def test_manual_window_ends_now_and_is_never_empty(covered: datetime, now: datetime) -> None:
    window = resolve_window(RunKind.MANUAL, None, None, covered, now)
    assert window == (Window(covered, now) if covered < now else None)


def test_time_is_written_in_utc_to_the_microsecond() -> None:
    brasilia = timezone(timedelta(hours=-3))
    assert iso(datetime(2018, 1, 1, 21, 30, 15, 7, tzinfo=brasilia)) == "2018-01-02 00:30:15.000007"
    assert as_utc(datetime(2018, 1, 1)) == datetime(2018, 1, 1, tzinfo=UTC)


@given(
    st.sampled_from(RunKind),
    moments,
    st.timedeltas(timedelta(seconds=1), timedelta(days=900)),
    moments,
    moments,
)
def test_no_window_is_empty_or_ends_after_the_clock_of_the_source(
    kind: RunKind, start: datetime, length: timedelta, covered: datetime, now: datetime
) -> None:
    given_window = Window(start, start + length)
    window = resolve_window(kind, given_window, given_window, covered, now)
    if window:
        assert kind in (RunKind.RANGED, RunKind.BACKFILL, RunKind.SCHEDULED, RunKind.MANUAL)
        assert window.start < window.end <= now


@pytest.mark.parametrize("kind", [RunKind.RANGED, RunKind.BACKFILL])
def test_history_is_extracted_again_if_requested(kind: RunKind) -> None:
    requested = Window(NOW - 9 * HOUR, NOW - 8 * HOUR)
    assert resolve_window(kind, requested, requested, NOW - HOUR, NOW) == requested


@pytest.mark.parametrize("kind", [RunKind.RANGED, RunKind.BACKFILL])
def test_future_has_no_window(kind: RunKind) -> None:
    future = Window(NOW, NOW + HOUR)
    assert resolve_window(kind, future, future, NOW - HOUR, NOW) is None


@pytest.mark.parametrize("kind", [RunKind.RANGED, RunKind.BACKFILL, RunKind.SCHEDULED])
def test_run_without_what_its_window_is_made_of_is_refused(kind: RunKind) -> None:
    with pytest.raises(
        WindowError, match=f"A run of the kind {kind.value} needs a data interval and has none"
    ):
        resolve_window(kind, None, None, NOW - HOUR, NOW)


def test_reversed_range_is_reported_in_utc() -> None:
    with pytest.raises(
        WindowError, match=r"2018-01-01 03:00:00 is not before window_end 2018-01-01 02:00:00 \(UTC\)"
    ):
        window_from_params("2018-01-01T00:00:00-03:00", "2018-01-01T02:00:00Z")


def test_ends_that_are_the_same_moment_in_two_zones_are_refused() -> None:
    with pytest.raises(WindowError, match="is not before"):
        window_from_params("2018-01-01T00:00:00-03:00", "2018-01-01T03:00:00")


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-03:00"])
def test_time_outside_of_the_calendar_is_refused_by_name(text: str) -> None:
    with pytest.raises(WindowError, match="window_start"):
        window_from_params(text, "2018-01-01")


def test_early_year_is_written_with_four_digits() -> None:
    assert iso(datetime(900, 1, 2, tzinfo=UTC)) == "0900-01-02 00:00:00.000000"


@given(moments, st.integers(-14 * 4, 14 * 4))
def test_offset_changes_the_way_a_moment_is_written_and_not_the_moment(
    moment: datetime, quarters: int
) -> None:
    there = moment.astimezone(timezone(timedelta(minutes=15 * quarters)))
    assert as_utc(there) == moment and as_utc(there).utcoffset() == timedelta()
    window = window_from_params(there.isoformat(), (there + HOUR).isoformat())
    assert window == Window(moment, moment + HOUR)
