"""Failure and lateness are told by the notifier that the settings name."""

import logging
from typing import Any

from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from asgiref.sync import sync_to_async
from pydantic import ImportString, TypeAdapter

from medallion.settings import settings

log = logging.getLogger(__name__)


def notifiers() -> list[Any]:
    """The notifier that the settings name, as a list of callbacks; empty where none is set.

    Raises pydantic.ValidationError where the path leads nowhere.
    """
    path = settings().notifier
    return [TypeAdapter(ImportString).validate_python(path)(**settings().notifier_arguments)] if path else []


async def gold_is_late(context: dict[str, Any]) -> None:
    """Called in the triggerer for a run that has not ended in time.

    `context` is what Airflow knows there, `dag_run` and `deadline`. The notifiers' templates find in it what they find
    of a failed task, by the name `deadline`. Left out are backfills: their runs wait for one another, and gold gets no
    older by it.
    """
    if context["dag_run"]["run_type"] == "backfill":
        return
    run = {"dag_id": context["dag_run"]["dag_id"], "run_id": context["dag_run"]["dag_run_id"]}
    log.error(
        "%(run_id)s of %(dag_id)s takes longer than usual by MEDALLION_MAX_GOLD_AGE: gold gets old.", run
    )
    for notifier in notifiers():
        # The way that a task calls it: few notifiers have an asynchronous one.
        await sync_to_async(notifier)(context | run | {"ti": run | {"task_id": "deadline"}})


def deadline() -> DeadlineAlert:
    """The alert of a DAG that publishes gold."""
    return DeadlineAlert(
        # Not DAGRUN_QUEUED_AT: Airflow 3.3 then fails to clear any task of the run (docs/decisions/freshness.md).
        reference=DeadlineReference.AVERAGE_RUNTIME(max_runs=10, min_runs=1),
        interval=settings().max_gold_age,
        callback=AsyncCallback(gold_is_late),
        name="gold is late",
    )
