"""Which stretch of time a run covers."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medallion.settings import as_utc
from medallion.window import RunKind, Window, WindowError, asked_window, iso, resolve_window

NOW = datetime(2018, 5, 1, 12, 3, tzinfo=UTC)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


def test_naive_time_means_utc_and_an_offset_is_converted() -> None:
    asked = asked_window("2018-01-01T00:00:00", "2018-01-01T03:00:00-03:00")
    assert asked == Window(datetime(2018, 1, 1, tzinfo=UTC), datetime(2018, 1, 1, 6, tzinfo=UTC))


def test_nothing_asked_is_no_window() -> None:
    assert asked_window(None, None) is None
    assert asked_window("", "") is None


@pytest.mark.parametrize("text", ["soon", "2018-13-01", "01/02/2018", "2018-02-30T00:00:00"])
def test_unparsable_time_is_named(text: str) -> None:
    with pytest.raises(WindowError, match=f"window_end = '{text}' is not a date or time: write it as"):
        asked_window("2018-01-01", text)


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
