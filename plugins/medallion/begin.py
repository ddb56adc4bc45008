"""The first task of a writing run: takes the lease and resolves the window."""

from datetime import datetime
from typing import Any, cast

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException

from medallion.database import create_audit_tables, source_clock, transaction
from medallion.lease import hold_lease, try_lease
from medallion.settings import settings
from medallion.window import RunKind, Window, WindowError, asked_window, resolve_window


class BeginRunOperator(BaseOperator):
    """Waits, deferred, until no other run writes; then keeps the run's window in `audit.runs`.

    Pushes the XCom `window`: what the UI shows of it. Fails at once on a window that makes no sense.
    """

    ui_color = "#cde"

    def execute(self, context: Context, event: Any = None) -> dict[str, str | None]:
        ti = cast("Any", context["ti"])
        try:
            kind, asked = requested(context)
        except WindowError as error:
            raise AirflowFailException(str(error)) from error
        create_audit_tables()
        if holder := try_lease(ti):
            self.log.info("Run %s of %s writes; waiting for its lease.", holder.run_id, holder.dag_id)
            poll = settings().lease_poll
            self.defer(trigger=TimeDeltaTrigger(poll), method_name="execute")
        request_rebuild(context["params"].get("rebuild", "none"))
        return keep_window(ti, kind, asked, data_interval(context))


def requested(context: Context) -> tuple[RunKind, Window | None]:
    """What kind of run this is, and the window its parameters ask for. Raises WindowError."""
    params = context["params"]
    asked = asked_window(params.get("window_start"), params.get("window_end"))
    if asked:
        return RunKind.RANGED, asked
    run_type = str(getattr(context["dag_run"], "run_type", "manual"))
    return {
        "backfill": RunKind.BACKFILL,
        "scheduled": RunKind.SCHEDULED,
    }.get(run_type, RunKind.MANUAL), None


def data_interval(context: Context) -> Window | None:
    """The run's data interval in UTC; None for a manual run, which has none."""
    run = cast("Any", context["dag_run"])
    if run.data_interval_start is None:
        return None
    return Window(run.data_interval_start, run.data_interval_end)


def request_rebuild(layer: str) -> None:
    """Keeps a rebuild of the layer beside the lease until it is published; the deeper of two requests stays."""
    with transaction() as cursor:
        cursor.execute(
            "update audit.pipeline set rebuild = %(layer)s"
            " where %(layer)s <> 'none' and rebuild <> 'silver'",
            {"layer": layer},
        )


def keep_window(ti: Any, kind: RunKind, asked: Window | None, interval: Window | None) -> dict[str, str | None]:
    """Resolves the run's window once, UTC; a run whose tasks were cleared finds the one it had."""
    hold_lease(ti)
    clock = source_clock()
    with transaction() as cursor:
        cursor.execute("select watermark from audit.pipeline")
        row: Any = cursor.fetchone()
        covered_to: datetime | None = row.watermark or settings().history_start or clock.oldest
        window = resolve_window(kind, asked, interval, covered_to, clock.now) if covered_to else None
        cursor.execute(
            """
            insert into audit.runs (dag_id, run_id, kind, window_start, window_end, extract_from)
            values (%s, %s, %s, %s, %s, %s)
            on conflict (dag_id, run_id) do nothing
            """,
            (
                ti.dag_id,
                ti.run_id,
                kind,
                window and window.start,
                window and window.end,
                window and window.start - settings().lookback,
            ),
        )
        cursor.execute(
            "select window_start, window_end from audit.runs where dag_id = %s and run_id = %s",
            (ti.dag_id, ti.run_id),
        )
        kept: Any = cursor.fetchone()
    return {
        "window_start": kept.window_start and kept.window_start.isoformat(),
        "window_end": kept.window_end and kept.window_end.isoformat(),
    }
