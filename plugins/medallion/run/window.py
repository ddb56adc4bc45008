"""Which stretch of the source's time a run covers. Pure: no database, no Airflow."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from medallion.settings import as_utc


class WindowError(ValueError):
    """The window asked for makes no sense; the message says what to change."""


class RunKind(StrEnum):
    """Why a run was made, which decides where its window comes from."""

    RANGED = "ranged"
    BACKFILL = "backfill"
    SCHEDULED = "scheduled"
    MANUAL = "manual"
    REBUILD = "rebuild"
    RECONCILE = "reconcile"
    MAINTENANCE = "maintenance"
    ROLLBACK = "rollback"

    @property
    def reads_source(self) -> bool:
        """Whether such a run looks at the source; the others work on what is there already."""
        return self not in (RunKind.MAINTENANCE, RunKind.ROLLBACK)


def minus_lookback(moment: datetime, lookback: timedelta) -> datetime:
    """The `lookback` before a moment in UTC, or the calendar's first moment."""
    return max(moment, datetime.min.replace(tzinfo=UTC) + lookback) - lookback


@dataclass(frozen=True)
class Window:
    """Half-open, in UTC: start is in it, end is not."""

    start: datetime
    end: datetime

    def extract_from(self, lookback: timedelta) -> datetime:
        """Where extraction starts."""
        return minus_lookback(self.start, lookback)


def parse_moment(name: str, value: str) -> datetime:
    """A parameter in ISO 8601 as UTC; without an offset it means UTC.

    Raises WindowError naming the parameter.
    """
    try:
        return as_utc(datetime.fromisoformat(value))
    except (ValueError, OverflowError):
        raise WindowError(
            f"{name} = {value!r} is not a date or time: write it as 2026-01-31 or 2026-01-31T10:00:00+00:00"
        ) from None


def window_from_params(start: str | None, end: str | None) -> Window | None:
    """The window of the parameters `window_start` and `window_end`; None where neither is given.

    Raises WindowError where one is missing or unparsable, or start is not before end.
    """
    if not start and not end:
        return None
    if not start or not end:
        missing = "window_end" if start else "window_start"
        raise WindowError(f"{missing} is missing: give both window_start and window_end, or neither")
    window = Window(parse_moment("window_start", start), parse_moment("window_end", end))
    if window.start >= window.end:
        raise WindowError(
            f"window_start {window.start:%Y-%m-%d %H:%M:%S} is not before"
            f" window_end {window.end:%Y-%m-%d %H:%M:%S} (UTC)"
        )
    return window


def resolve_window(
    kind: RunKind, asked: Window | None, interval: Window | None, covered_to: datetime, source_now: datetime
) -> Window | None:
    """The window of a run; None where nothing is left to extract.

    `asked` comes from the parameters (RANGED), `interval` is the run's data interval (BACKFILL, SCHEDULED),
    `covered_to` the watermark or where the history starts, `source_now` the source's clock: no window ends
    after it. Raises WindowError where a kind lacks what it is made from.
    """
    match kind:
        case RunKind.REBUILD | RunKind.RECONCILE | RunKind.MAINTENANCE | RunKind.ROLLBACK:
            return None
        case RunKind.RANGED if asked:
            window = asked
        case RunKind.BACKFILL if interval:
            window = interval
        case RunKind.SCHEDULED if interval:
            window = Window(min(interval.start, covered_to), interval.end)
        case RunKind.MANUAL:
            window = Window(covered_to, source_now)
        case _:
            raise WindowError(f"a {kind} run needs a data interval, and has none")
    if window.start == window.end and kind in (RunKind.BACKFILL, RunKind.SCHEDULED):
        raise WindowError(
            "the data interval is empty: schedule the DAG by CronDataIntervalTimetable, not by a bare cron string"
        )
    end = min(window.end, source_now)
    return Window(window.start, end) if window.start < end else None


def iso(moment: datetime) -> str:
    """UTC without an offset, to the microsecond: how the window is passed to the engines."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
