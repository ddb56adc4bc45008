"""Notifications of failed tasks, late gold and findings, through the notifier set in MEDALLION_NOTIFIER."""

import logging
from typing import Any

import psycopg
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from asgiref.sync import sync_to_async

from medallion.engines.postgres import BlockedError, transaction
from medallion.run import lease
from medallion.settings import settings
from medallion.store.findings import mark_reported, unreported_findings
from medallion.store.pipeline import age_of_gold_is_within
from medallion.tasks.watch import record_states

log = logging.getLogger(__name__)


def notifiers() -> list[Any]:
    """Return the notifier of the settings as a list of callbacks; empty if none is set."""
    notifier = settings().notifier
    return [notifier(**settings().notifier_arguments)] if notifier else []


def is_gold_old() -> bool:
    """Return whether gold is older than MEDALLION_MAX_GOLD_AGE, does not exist, or can't be read."""
    try:
        with transaction() as cursor:
            return not age_of_gold_is_within(cursor, settings().max_gold_age)
    except (psycopg.Error, BlockedError):
        log.exception("The age of gold is unknown:")
        return True


async def report_late_gold(context: dict[str, Any]) -> None:
    """Notify of a run that has not succeeded by its deadline, unless another run has published since.

    Airflow calls it in the triggerer; `context` has `dag_run` and `deadline`. The templates of notifiers find the same
    names as for a failed task, with the task id `deadline`. Backfills are left out: they concern the past and wait for
    one another.
    """
    if context["dag_run"]["run_type"] == "backfill" or not await sync_to_async(is_gold_old)():
        return
    run = {"dag_id": context["dag_run"]["dag_id"], "run_id": context["dag_run"]["dag_run_id"]}
    log.error(
        "Run %(run_id)s of %(dag_id)s has not succeeded, and gold is older than MEDALLION_MAX_GOLD_AGE.", run
    )
    for notifier in notifiers():
        # The notifier is called as a task would call it, because few have an asynchronous method.
        await sync_to_async(notifier)(context | run | {"ti": run | {"task_id": "deadline"}})


def end_run(**context: Any) -> None:
    """Give the lease back, then look for findings and notify of them. The body of the task `end`."""
    lease.release(context["ti"])
    try:
        # Runs of a backfill skip this, because each waits for the one before. The next run of another type looks.
        if context["dag_run"].run_type.value != "backfill":
            record_states(context["ti"])
            report_findings(context)
    except Exception:
        # The task need not fail: the lease is given back already, and the next run tries again.
        log.exception("Findings could not be reported:")


def report_findings(context: Any) -> None:
    """Notify people of each finding that is due. If this task is killed, a finding may be reported twice.

    The notifier gets a context with the names that it has for a failed task, so that its templates serve both: the
    task id is the finding's kind, and `exception` its message.
    """
    with transaction() as cursor:
        due = unreported_findings(cursor)
    for finding in due:
        log.warning("%s", finding.message)
        ti = context["ti"]
        run = {"dag_id": ti.dag_id, "run_id": ti.run_id}
        for notifier in notifiers():
            notifier({**context, **run, "ti": run | {"task_id": finding.kind}, "exception": finding.message})
        with transaction() as cursor:
            mark_reported(cursor, finding)


def deadline() -> DeadlineAlert:
    """Return the deadline of a DAG that publishes gold.

    It counts from the start of the run's data interval, because gold ends there until the run has published.
    """
    return DeadlineAlert(
        # With DAGRUN_QUEUED_AT, Airflow 3.3 could not clear a task before the run's deadline has passed
        # (docs/decisions/freshness.md).
        reference=DeadlineReference.DAGRUN_LOGICAL_DATE,
        interval=settings().max_gold_age,
        callback=AsyncCallback(report_late_gold),
        name="gold is late",
    )
