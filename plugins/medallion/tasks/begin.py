"""The first task of a writing run: checks its dependencies, takes the lease, resolves the window, skips idle tasks.

It also records the code that the run begins with.
"""

import logging
from typing import Any, cast

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseHook, BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException, DownstreamTasksSkipped

from medallion.engines.postgres import BlockedError, transaction
from medallion.names import BRONZE, FRESHNESS, GROUPS_UP_TO, NO_REBUILD, Group, group_of, lake_table, task_id
from medallion.project.contracts import gold_tables
from medallion.project.manifest import ManifestError, entities, source_tables
from medallion.publish.publish import has_written
from medallion.publish.shapes import tables_in_shape
from medallion.run.attempts import run_of
from medallion.run.code import begin_with_code
from medallion.run.cursors import CursorError, check_cursors
from medallion.run.lease import ask_lease, hold_lease, release
from medallion.run.pending import tables_with_new_rows, tables_without_work
from medallion.run.source import SourceContractError, changed_models, check_source, read_clock
from medallion.run.state import RunState, claim_run
from medallion.run.window import RunKind, Window, WindowError, resolve_window, window_from_params
from medallion.settings import CONNECTIONS, settings
from medallion.store.attempts import record_skipped, tasks_attempted_above
from medallion.store.migrations import upgrade_store
from medallion.store.pipeline import is_everything_published, request_rebuild, set_first_watermark
from medallion.store.runs import RunRecord, record_run

log = logging.getLogger(__name__)


class BeginRunOperator(BaseOperator):
    """Waits, deferred, until it is this run's turn to write; then resolves the window and skips tasks without work.

    `kind`: the kind of all runs of the DAG; without it, each run's parameters and Airflow's run type decide.
    The XCom `window` shows the window in the UI. Errors that a retry cannot fix, such as a senseless window or a
    missing column of the source, fail at once.
    """

    ui_color = "#cde"

    def __init__(self, *, kind: RunKind | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.kind = kind

    def execute(self, context: Context, event: Any = None) -> None:
        """Begin the run; a deferred task resumes here and checks everything again."""
        ti, params = cast("Any", context["ti"]), context["params"]
        kind, requested = self.check(context)
        upgrade_store()
        self.wait_for_lease(ti)
        if (layer := params.get("rebuild", NO_REBUILD)) != NO_REBUILD:
            with transaction() as cursor:
                request_rebuild(cursor, layer)
        up_to = params.get("up_to", Group.PUBLISH)
        kept: tuple[Group, ...] = GROUPS_UP_TO[up_to]
        if kind.reads_source:
            window = record_window(ti, kind, requested, data_interval(context))
            self.log_window(window)
            ti.xcom_push("window", window)
            self.check_code(ti, kind, accepted=layer != NO_REBUILD)
            if kind is RunKind.SCHEDULED and is_first_attempt(ti) and is_published(window["window_end"]):
                self.log.info("An earlier run has published this hour. Clear the run to force it.")
                kept = ()
        skipped = tasks_to_skip(ti.task.dag.task_ids, kind, kept)
        if kind.reads_source and kind is not RunKind.RECONCILE and kept:
            skipped += skip_idle_tasks(ti, publishes=Group.PUBLISH in kept)
        if skipped:
            raise DownstreamTasksSkipped(tasks=skipped)  # type: ignore[no-untyped-call]

    def check(self, context: Context) -> tuple[RunKind, Window | None]:
        """Check connections, parameters and the source's tables; return the run's kind and its requested window."""
        try:
            check_connections()
            kind, requested = (self.kind, None) if self.kind else run_kind_and_window(context)
            if kind.reads_source:
                check_source()
                check_cursors()
        except (CursorError, ManifestError, SourceContractError, WindowError) as error:
            raise AirflowFailException(str(error)) from error
        return kind, requested

    def check_code(self, ti: Any, kind: RunKind, accepted: bool) -> None:
        """Record the code that the run begins with, and have it rebuild the tables that other code has made."""
        try:
            begin_with_code(ti, builds=kind is not RunKind.RECONCILE, accepted=accepted)
        except ManifestError as error:
            raise AirflowFailException(str(error)) from error

    def wait_for_lease(self, ti: Any) -> None:
        """Take the lease, or defer until the next poll."""
        if is_first_attempt(ti):
            # A deleted run with the same id may still hold the lease. Release it, so that this run draws its own
            # batch and ends whatever the deleted run left running.
            release(ti)
        try:
            first = ask_lease(ti)
            if not first:
                return
            self.log.info("Waiting for the lease: run %s of %s comes first.", first.run_id, first.dag_id)
        except BlockedError as error:
            self.log.warning("Waiting for the lease. %s", error)
        self.defer(trigger=TimeDeltaTrigger(settings().lease_poll), method_name="execute")

    def log_window(self, window: dict[str, str | None]) -> None:
        """Log the range that the run covers."""
        if window["window_start"]:
            self.log.info("Window from %(window_start)s to %(window_end)s", window)
        else:
            self.log.info("No window: nothing is extracted.")


def check_connections() -> None:
    """Raise AirflowNotFoundException naming each connection that Airflow lacks.

    The error is retried: Airflow reports the same while its api-server is down.
    """
    missing = []
    for name in CONNECTIONS:
        try:
            BaseHook.get_connection(name)
        except AirflowNotFoundException:
            missing.append(name)
    if missing:
        raise AirflowNotFoundException(
            f"Airflow has no connection {', '.join(missing)}. Add it (Admin > Connections, or the variable"
            f" AIRFLOW_CONN_{missing[0].upper()}); docs/reference/connections.md lists the fields of each."
        )


def run_kind_and_window(context: Context) -> tuple[RunKind, Window | None]:
    """Return the kind of a run, and the window that its parameters request. Raises WindowError."""
    params = context["params"]
    if window := window_from_params(params.get("window_start"), params.get("window_end")):
        return RunKind.RANGED, window
    if params.get("rebuild", NO_REBUILD) != NO_REBUILD:
        return RunKind.REBUILD, None
    # str() of Airflow's enumeration is not its value.
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


def tasks_to_skip(task_ids: list[str], kind: RunKind, kept: tuple[Group, ...]) -> list[str]:
    """Return the tasks of groups that are not `kept`; and `freshness`, unless the run extends to the present."""
    extends_to_now = kind in (RunKind.SCHEDULED, RunKind.MANUAL)
    return [
        task
        for task in task_ids
        if (group_of(task) in [*Group] and group_of(task) not in kept)
        or (task == FRESHNESS and not extends_to_now)
    ]


def skip_idle_tasks(ti: Any, publishes: bool = True) -> list[str]:
    """Return the tasks without work in the run of `ti`, and record them as skipped.

    A bronze table is skipped if the source has no row for it in the window and nothing has written it since it was
    published, not even a killed attempt, whose statement may have committed later. Rows that are committed late fall
    into the next run's lookback; unpublished rows must be tested again. If all tables are skipped and everything
    in the lake is published, a run that `publishes` needs no task between `begin` and `publish`, which moves the
    watermark.
    """
    run = claim_run(ti)
    with transaction() as cursor:
        attempted = tasks_attempted_above(cursor, run.published_batch)
    busy = attempted | {task_id(Group.BRONZE, model) for model in models_changed_in_window(run)}
    bronze_tasks = {
        lake_table(BRONZE, table.model): task_id(Group.BRONZE, table.model) for table in source_tables()
    }
    candidates = [
        table for table, task in bronze_tasks.items() if task in ti.task.dag.task_ids and task not in busy
    ]
    # This comes last, and only for the candidates: it imports pyiceberg and reads metadata.
    idle = [bronze_tasks[table] for table in tables_without_work(run, candidates)]
    if publishes and idle and len(idle) == len(bronze_tasks) and is_lake_published(run, attempted):
        log.info("Nothing has changed since the last publication: the run only moves the watermark.")
        idle = [task for task in ti.task.dag.task_ids if group_of(task) in {*Group} - {Group.PUBLISH}]
    with transaction() as cursor:
        record_skipped(cursor, run_of(ti), idle)
    return idle


def is_lake_published(run: RunState, attempted: set[str]) -> bool:
    """Return whether the lake holds nothing but what is published, and gold has the shapes of its contracts.

    `attempted`: the tasks that were attempted since.
    """
    if has_written(attempted):
        return False
    with transaction() as cursor:
        present = tables_in_shape(cursor)
    return present == {table.name for table in gold_tables()} and not tables_with_new_rows(run, entities())


def models_changed_in_window(run: RunState) -> set[str]:
    """Return the bronze models whose source tables have rows in the run's window."""
    if not (run.extract_from and run.extract_to):
        return set()
    return changed_models(run.extract_from, run.extract_to)


def is_first_attempt(ti: Any) -> bool:
    """Return whether this is the first attempt of `begin`; a deleted run that is created again starts at 1, too."""
    return bool(ti.try_number == 1)


def is_published(window_end: str | None) -> bool:
    """Return whether everything before this run is published, up to `window_end` (ISO 8601) or later."""
    with transaction() as cursor:
        return is_everything_published(cursor, window_end)


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
            # A history that starts in the future would leave every window empty until then.
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
