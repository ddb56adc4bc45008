"""The first task of a writing run: checks what it depends on, takes the lease, resolves the window."""

from datetime import datetime
from typing import Any, cast

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseHook, BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException, DownstreamTasksSkipped

from medallion.engines.postgres import changed_tables, create_audit_tables, source_clock, transaction
from medallion.run.attempts import group_of, record_skipped
from medallion.run.lease import ask_lease, hold_lease, release
from medallion.run.pending import tables_without_work
from medallion.run.source import SourceContractError, check_source
from medallion.run.state import run_state
from medallion.run.window import RunKind, Window, WindowError, resolve_window, window_from_params
from medallion.settings import CONNECTIONS, settings

# The groups of tasks, in their order; entities and marts are both silver.
GROUPS = ("bronze", "entities", "silver", "gold", "audit", "stage", "publish")


class BeginRunOperator(BaseOperator):
    """Waits, deferred, until no other run writes and it is its turn; then keeps the run's window in `audit.runs`.

    Pushes the XCom `window`: what the UI shows of it. Fails at once on what a retry can't mend: a window that makes no
    sense, a source that lost a column. Skips the tasks that the run has no need of.

    `kind`: what all runs of the DAG are; without it their parameters and Airflow's run type tell.
    """

    ui_color = "#cde"

    def __init__(self, *, kind: RunKind | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.kind = kind

    def execute(self, context: Context, event: Any = None) -> None:
        """Checks, takes the lease, resolves the window; a task that was deferred resumes here."""
        ti = cast("Any", context["ti"])
        try:
            check_connections()
            kind, asked = (self.kind, None) if self.kind else run_kind_and_window(context)
            if kind.reads_source:
                check_source()
        except (WindowError, SourceContractError) as error:
            raise AirflowFailException(str(error)) from error
        create_audit_tables()
        if is_new(ti):
            # One that was deleted has its lease still, and what it left on an engine.
            release(ti)
        if first := ask_lease(ti):
            self.log.info("Waiting for the lease: run %s of %s comes first.", first.run_id, first.dag_id)
            self.defer(trigger=TimeDeltaTrigger(settings().lease_poll), method_name="execute")
        request_rebuild(context["params"].get("rebuild", "none"))
        up_to = context["params"].get("up_to", GROUPS[-1])
        if kind.reads_source:
            window = record_window(ti, kind, asked, data_interval(context))
            self.log.info(
                "Window %(window_start)s to %(window_end)s"
                if window["window_start"]
                else "No window: nothing is extracted.",
                window,
            )
            ti.xcom_push("window", window)
            # One that is cleared is meant to be done.
            if kind is RunKind.SCHEDULED and is_new(ti) and is_published(window["window_end"]):
                self.log.info("All of it is published already, by an earlier run.")
                up_to = None
        skipped = tasks_to_skip(ti.task.dag.task_ids, kind, up_to)
        if kind.reads_source and kind is not RunKind.RECONCILE and up_to:
            skipped += skip_tables_without_work(ti)
        if skipped:
            raise DownstreamTasksSkipped(tasks=skipped)  # type: ignore[no-untyped-call]


def check_connections() -> None:
    """Raises AirflowNotFoundException naming each connection that Airflow lacks, or can't tell of.

    That is the same while its api-server is down: another try may find it.
    """
    missing = []
    for name in CONNECTIONS:
        try:
            BaseHook.get_connection(name)
        except AirflowNotFoundException:
            missing.append(name)
    if missing:
        raise AirflowNotFoundException(
            f"Airflow has no connection {', '.join(missing)}: add what is missing (Admin > Connections, or the variable"
            f" AIRFLOW_CONN_{missing[0].upper()}); the README's table of connections says what belongs into each."
        )


def run_kind_and_window(context: Context) -> tuple[RunKind, Window | None]:
    """What kind of run this is, and the window its parameters ask for. Raises WindowError."""
    params = context["params"]
    if asked := window_from_params(params.get("window_start"), params.get("window_end")):
        return RunKind.RANGED, asked
    if params.get("rebuild", "none") != "none":
        return RunKind.REBUILD, None
    # An enumeration of Airflow's, whose text is not its value.
    run_type = cast("Any", context["dag_run"]).run_type.value
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


def tasks_to_skip(task_ids: list[str], kind: RunKind, up_to: str | None) -> list[str]:
    """The tasks of the layers after `up_to`, or of all; and the look at the source's age, unless a run is about now."""
    later = GROUPS[GROUPS.index(up_to) + 1 :] if up_to else GROUPS
    if kind not in (RunKind.SCHEDULED, RunKind.MANUAL):
        later += ("freshness",)
    return [name for name in task_ids if group_of(name) in later]


def skip_tables_without_work(ti: Any) -> list[str]:
    """The tasks of bronze that have nothing to do in the run of `ti`, noted as tries that were skipped.

    The source has no row of their tables in the run's window: what is committed later is for the next one's lookback.
    And the tables were published, and not written since: a test that stopped another run would stop this one, too.
    Not even by a try that was killed, whose statement may have committed later.
    """
    run = run_state(ti)
    start, end = run.extract_from, run.extract_to
    changed = changed_tables(start, end) if start and end else set()
    with transaction() as cursor:
        cursor.execute(
            "select distinct task_id from audit.data_pipeline_runs where batch > %s and status <> 'skipped'",
            (run.published_batch,),
        )
        busy = {f"bronze.{name}" for name in changed} | {row.task_id for row in cursor.fetchall()}
    idle = [task for task in ti.task.dag.task_ids if group_of(task) == "bronze" and task not in busy]
    # Last, and of those alone: it takes an import of a second, and reads of metadata.
    quiet = tables_without_work(run, idle)
    with transaction() as cursor:
        record_skipped(cursor, ti, quiet)
    return quiet


def is_new(ti: Any) -> bool:
    """Whether nothing of the run was tried before, also under the name of one that was deleted."""
    return bool(ti.try_number == 1)


def is_published(window_end: str | None) -> bool:
    """Whether nothing was written since the last publication, which covers everything up to `window_end`, ISO 8601."""
    with transaction() as cursor:
        cursor.execute(
            "select watermark >= %s::timestamptz and published_batch = lease_batch - 1 and rebuild = 'none'"
            " as published from audit.pipeline",
            (window_end,),
        )
        row: Any = cursor.fetchone()
    return bool(row.published)


def request_rebuild(layer: str) -> None:
    """Keeps a rebuild of the layer beside the lease until it is published; the deeper of two requests stays."""
    with transaction() as cursor:
        cursor.execute(
            """
            update audit.pipeline
            set rebuild_batch = lease_batch, rebuild = case when rebuild = 'silver' then rebuild else %(layer)s end
            where %(layer)s <> 'none'
            """,
            {"layer": layer},
        )


def record_window(
    ti: Any, kind: RunKind, asked: Window | None, interval: Window | None
) -> dict[str, str | None]:
    """Resolves the run's window once, UTC; a run whose tasks were cleared finds the one it had, if it had any.

    Not one that was deleted and made anew under its old name. Sets the watermark where there is none yet and the
    source has rows.
    """
    hold_lease(ti)
    clock, start = source_clock(), settings().history_start
    with transaction() as cursor:
        cursor.execute(
            "update audit.pipeline set watermark = coalesce(watermark, %s::timestamptz, %s::timestamptz)"
            " where %s::timestamptz is not null returning watermark",
            # What is yet to come would keep windows waiting for it.
            (start and min(start, clock.now), clock.oldest, clock.oldest),
        )
        row = cursor.fetchone()
        covered_to: datetime | None = row and row.watermark
        window = resolve_window(kind, asked, interval, covered_to, clock.now) if covered_to else None
        cursor.execute(
            """
            insert into audit.runs (dag_id, run_id, kind, window_start, window_end, extract_from)
            values (%s, %s, %s, %s, %s, %s)
            on conflict (dag_id, run_id) do update
            set
                kind = excluded.kind,
                window_start = excluded.window_start,
                window_end = excluded.window_end,
                extract_from = excluded.extract_from,
                resolved_at = excluded.resolved_at
            where
                runs.window_start is null or %s
                or excluded.kind = 'ranged' and (runs.kind, runs.window_start, runs.window_end)
                is distinct from (excluded.kind, excluded.window_start, excluded.window_end)
            """,
            (
                ti.dag_id,
                ti.run_id,
                kind,
                window and window.start,
                window and window.end,
                window and window.extract_from(settings().lookback),
                is_new(ti),
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
