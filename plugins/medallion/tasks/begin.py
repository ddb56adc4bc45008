"""The first task of a writing run: checks its dependencies, takes the lease, resolves the window, skips idle tasks.

It also records the code that the run begins with.
"""

from typing import Any, cast

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseHook, BaseOperator, Context
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSkipException,
    DownstreamTasksSkipped,
)

from medallion.engines.postgres import BlockedError, ServerError, check_server, transaction
from medallion.names import FRESHNESS, GROUPS_UP_TO, NO_REBUILD, Group, group_of
from medallion.project.manifest import ManifestError
from medallion.run.code import begin_with_code
from medallion.run.cursors import CursorError, check_cursors
from medallion.run.lease import ask_lease, release
from medallion.run.request import data_interval, is_first_attempt, record_window, run_kind_and_window
from medallion.run.source import SourceContractError, check_source
from medallion.run.window import RunKind, Window, WindowError
from medallion.settings import CONNECTIONS, GOLD_CONNECTION, SOURCE_CONNECTION, settings
from medallion.store.migrations import read_version, upgrade_store
from medallion.store.pipeline import is_everything_published, publication_batch, request_rebuild
from medallion.tasks.idle import skip_idle_tasks


class BeginRunOperator(BaseOperator):
    """Waits, deferred, until it is this run's turn to write; then resolves the window and skips tasks without work.

    `kind`: the kind of all runs of the DAG; without it, each run's parameters and Airflow's run type decide. A DAG with
    a `kind` skips its scheduled runs before the first publication: Airflow creates such a run as soon as it knows the
    DAG, and the first load would have to wait for it.
    The XCom `window` shows the window in the UI. Errors that a retry cannot fix, such as an invalid window or a
    missing column of the source, fail at once.
    """

    ui_color = "#cde"

    def __init__(self, *, kind: RunKind | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.kind = kind

    def execute(self, context: Context, event: Any = None) -> None:
        """Begin the run; a deferred task resumes here and checks everything again."""
        ti, params = cast("Any", context["ti"]), context["params"]
        if self.kind and is_scheduled(context) and not has_publication():
            raise AirflowSkipException("Nothing was published yet, so there is nothing to do.")
        kind, requested = self.check(context)
        upgrade_store()
        self.wait_for_lease(ti)
        if (layer := params.get("rebuild", NO_REBUILD)) != NO_REBUILD:
            with transaction() as cursor:
                request_rebuild(cursor, layer)
        up_to = params.get("up_to", Group.PUBLISH)
        groups: tuple[Group, ...] = GROUPS_UP_TO[up_to]
        if kind.reads_source:
            window = record_window(ti, kind, requested, data_interval(context))
            self.log_window(window)
            ti.xcom_push("window", window)
            self.check_code(ti, kind, accepted=layer != NO_REBUILD)
            if kind is RunKind.SCHEDULED and is_first_attempt(ti) and is_published(window["window_end"]):
                self.log.info("An earlier run has published this hour. Clear the run to force it.")
                groups = ()
        skipped = tasks_to_skip(ti.task.dag.task_ids, kind, groups)
        if kind.reads_source and kind is not RunKind.RECONCILE and groups:
            skipped += skip_idle_tasks(ti, publishes=Group.PUBLISH in groups)
        if skipped:
            raise DownstreamTasksSkipped(tasks=skipped)  # type: ignore[no-untyped-call]

    def check(self, context: Context) -> tuple[RunKind, Window | None]:
        """Check connections, parameters and the source's tables; return the run's kind and its requested window."""
        try:
            check_connections()
            check_server(GOLD_CONNECTION)
            kind, requested = (self.kind, None) if self.kind else run_kind_and_window(context)
            if kind.reads_source:
                check_server(SOURCE_CONNECTION)
                check_source()
                check_cursors()
        except (CursorError, ManifestError, ServerError, SourceContractError, WindowError) as error:
            raise AirflowFailException(str(error)) from error
        return kind, requested

    def check_code(self, ti: Any, kind: RunKind, accepted: bool) -> None:
        """Record the code that the run begins with, and let it rebuild the tables that other code has made."""
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


def is_scheduled(context: Context) -> bool:
    """Return whether Airflow created the run on the DAG's schedule."""
    # Use the enumeration's value, because Airflow's str() of it is another text.
    return bool(cast("Any", context["dag_run"]).run_type.value == "scheduled")


def has_publication() -> bool:
    """Return whether gold was ever published. Works without the tables of the store, and does not create them."""
    _, has_gold = read_version()
    if not has_gold:
        return False
    with transaction() as cursor:
        return publication_batch(cursor) > 0


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


def tasks_to_skip(task_ids: list[str], kind: RunKind, groups: tuple[Group, ...]) -> list[str]:
    """Return the tasks of groups that are not in `groups`; and `freshness`, unless the run extends to the present."""
    extends_to_now = kind in (RunKind.SCHEDULED, RunKind.MANUAL)
    return [
        task
        for task in task_ids
        if (group_of(task) in [*Group] and group_of(task) not in groups)
        or (task == FRESHNESS and not extends_to_now)
    ]


def is_published(window_end: str | None) -> bool:
    """Return whether everything before this run is published, up to `window_end` (ISO 8601) or later."""
    with transaction() as cursor:
        return is_everything_published(cursor, window_end)
