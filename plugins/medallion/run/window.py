"""The range of the source's time that a run covers. Pure: no database, no Airflow."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from medallion.settings import as_utc


class WindowError(ValueError):
    """The requested window is invalid; the message says what to change."""


class RunKind(StrEnum):
    """The reason for a run. It decides what the window of the run is."""

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
        """Return whether a run of this kind reads the source; the others work on the lake and on gold."""
        return self not in (RunKind.MAINTENANCE, RunKind.ROLLBACK)


def minus_lookback(moment: datetime, lookback: timedelta) -> datetime:
    """Return a moment in UTC minus `lookback`, but no earlier moment than the start of year 1."""
    return max(moment, datetime.min.replace(tzinfo=UTC) + lookback) - lookback


@dataclass(frozen=True)
class Window:
    """A half-open range in UTC: it includes its start and excludes its end."""

    start: datetime
    end: datetime

    def extract_from(self, lookback: timedelta) -> datetime:
        """Return the start of the extraction."""
        return minus_lookback(self.start, lookback)


def parse_moment(name: str, value: str) -> datetime:
    """Parse a parameter in ISO 8601; without an offset it means UTC.

    Raises WindowError naming the parameter.
    """
    try:
        return as_utc(datetime.fromisoformat(value))
    except (ValueError, OverflowError):
        raise WindowError(
            f"{name} = {value!r} is not a date or time: write it as 2026-01-31 or 2026-01-31T10:00:00+00:00"
        ) from None


def window_from_params(start: str | None, end: str | None) -> Window | None:
    """Return the window of the parameters `window_start` and `window_end`; None if neither is given.

    Raises WindowError if one is missing or does not parse, or if start is not before end.
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
    kind: RunKind,
    requested: Window | None,
    interval: Window | None,
    covered_to: datetime,
    source_now: datetime,
) -> Window | None:
    """Return the window of a run; None if nothing is left to extract.

    `requested` comes from the parameters (RANGED), `interval` is the run's data interval (BACKFILL, SCHEDULED),
    `covered_to` is the watermark or the start of the history, `source_now` is the source's clock: no window ends
    after it. Raises WindowError if a run has no data interval although its kind needs one.
    """
    match kind:
        case RunKind.REBUILD | RunKind.RECONCILE | RunKind.MAINTENANCE | RunKind.ROLLBACK:
            return None
        case RunKind.RANGED if requested:
            window = requested
        case RunKind.BACKFILL if interval:
            window = interval
        case RunKind.SCHEDULED if interval:
            window = Window(min(interval.start, covered_to), interval.end)
        case RunKind.MANUAL:
            window = Window(covered_to, source_now)
        case _:
            raise WindowError(f"A run of the kind {kind} needs a data interval and has none")
    if window.start == window.end and kind in (RunKind.BACKFILL, RunKind.SCHEDULED):
        raise WindowError(
            "The data interval is empty. Schedule the DAG with CronDataIntervalTimetable, not with a bare cron string"
        )
    end = min(window.end, source_now)
    return Window(window.start, end) if window.start < end else None


def iso(moment: datetime) -> str:
    """Return the moment in UTC without an offset, to the microsecond, as the engines get it."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
