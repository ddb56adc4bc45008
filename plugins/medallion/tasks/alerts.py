"""Failure and lateness are told by the notifier that the settings name."""

import logging
from typing import Any

import psycopg
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from asgiref.sync import sync_to_async

from medallion.engines.postgres import transaction
from medallion.settings import settings

log = logging.getLogger(__name__)


def notifiers() -> list[Any]:
    """The notifier that the settings name, as a list of callbacks; empty where none is set."""
    notifier = settings().notifier
    return [notifier(**settings().notifier_arguments)] if notifier else []


def is_gold_old() -> bool:
    """Whether what BI reads ends longer ago than the setting, or is not there, or can't be asked."""
    try:
        with transaction() as cursor:
            cursor.execute(
                "select now() - window_end <= %s as is_new from gold.publication", (settings().max_gold_age,)
            )
            publication: Any = cursor.fetchone()
    except psycopg.Error:
        log.exception("The age of gold is not known:")
        return True
    return not (publication and publication.is_new)


async def report_late_gold(context: dict[str, Any]) -> None:
    """Called in the triggerer for a run that has not succeeded by its deadline; silent if another has published since.

    `context` is what Airflow knows there, `dag_run` and `deadline`. The notifiers' templates find in it what they find
    of a failed task, by the name `deadline`. Left out are backfills: they are about the past, and wait for one another.
    """
    if context["dag_run"]["run_type"] == "backfill" or not await sync_to_async(is_gold_old)():
        return
    run = {"dag_id": context["dag_run"]["dag_id"], "run_id": context["dag_run"]["dag_run_id"]}
    log.error(
        "%(run_id)s of %(dag_id)s has not succeeded, and gold is older than MEDALLION_MAX_GOLD_AGE.", run
    )
    for notifier in notifiers():
        # The way that a task calls it: few notifiers have an asynchronous one.
        await sync_to_async(notifier)(context | run | {"ti": run | {"task_id": "deadline"}})


def deadline() -> DeadlineAlert:
    """The alert of a DAG that publishes gold: until a scheduled run has, gold ends where the run's interval begins."""
    return DeadlineAlert(
        # Not DAGRUN_QUEUED_AT: Airflow 3.3 then fails to clear any task of the run (docs/decisions/freshness.md).
        reference=DeadlineReference.DAGRUN_LOGICAL_DATE,
        interval=settings().max_gold_age,
        callback=AsyncCallback(report_late_gold),
        name="gold is late",
    )
