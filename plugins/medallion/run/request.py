"""The requested kind and window of a run, and the window that is resolved and recorded once."""

from typing import Any, cast

from airflow.sdk import Context

from medallion.engines.postgres import transaction
from medallion.names import NO_REBUILD
from medallion.run.attempts import run_of
from medallion.run.lease import hold_lease
from medallion.run.source import read_clock
from medallion.run.window import RunKind, Window, resolve_window, window_from_params
from medallion.settings import settings
from medallion.store.pipeline import set_first_watermark
from medallion.store.runs import RunRecord, record_run


def run_kind_and_window(context: Context) -> tuple[RunKind, Window | None]:
    """Return the kind of a run, and the window that its parameters request. Raises WindowError."""
    params = context["params"]
    if window := window_from_params(params.get("window_start"), params.get("window_end")):
        return RunKind.RANGED, window
    if params.get("rebuild", NO_REBUILD) != NO_REBUILD:
        return RunKind.REBUILD, None
    # Use the enumeration's value, because Airflow's str() of it is another text.
    run_type = cast("Any", context["dag_run"]).run_type.value
    return {
        "backfill": RunKind.BACKFILL,
        "scheduled": RunKind.SCHEDULED,
    }.get(run_type, RunKind.MANUAL), None


def data_interval(context: Context) -> Window | None:
    """Return the run's data interval in UTC; None for a manual run, which has none."""
    run = cast("Any", context["dag_run"])
    if run.data_interval_start is None:
        return None
    return Window(run.data_interval_start, run.data_interval_end)


def is_first_attempt(ti: Any) -> bool:
    """Return whether this is the first attempt of `begin`; a deleted run that is created again starts at 1, too."""
    return bool(ti.try_number == 1)


def record_window(
    ti: Any, kind: RunKind, requested: Window | None, interval: Window | None
) -> dict[str, str | None]:
    """Resolve the run's window once, in UTC, and return it; a run whose tasks were cleared keeps its window.

    Sets the watermark if there is none yet and the source has rows.
    """
    hold_lease(ti)
    clock, history_start = read_clock(), settings().history_start
    with transaction() as cursor:
        covered_to = set_first_watermark(
            cursor,
            # If the history started in the future, every window until then would be empty.
            history_start and min(history_start, clock.now),
            clock.oldest,
        )
        window = resolve_window(kind, requested, interval, covered_to, clock.now) if covered_to else None
        record = record_run(
            cursor,
            run_of(ti),
            RunRecord(
                kind=kind,
                window_start=window.start if window else None,
                window_end=window.end if window else None,
                extract_from=window.extract_from(settings().lookback) if window else None,
                resolved_at=clock.now,
            ),
            is_first_attempt(ti),
        )
    return {
        "window_start": record.window_start.isoformat() if record.window_start else None,
        "window_end": record.window_end.isoformat() if record.window_end else None,
    }
