"""Failure and lateness are told by the notifier that the settings name."""

import logging
from typing import Any

from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from pydantic import ImportString, TypeAdapter

from medallion.settings import settings

log = logging.getLogger(__name__)


def notifiers() -> list[Any]:
    """The notifier that the settings name, as a list of callbacks; empty where none is set.

    Raises pydantic.ValidationError where the path leads nowhere.
    """
    path = settings().notifier
    return [TypeAdapter(ImportString).validate_python(path)(**settings().notifier_arguments)] if path else []


async def gold_is_late(context: Any) -> None:
    """Called in the triggerer for a run that has not ended in time."""
    log.error("Gold is older than %s: the run of %s has not published.", settings().max_gold_age, context)
    for notifier in notifiers():
        await notifier.async_notify(context)


def deadline() -> DeadlineAlert:
    """The alert of a DAG that publishes gold."""
    return DeadlineAlert(
        # Not DAGRUN_QUEUED_AT: Airflow 3.3 then fails to clear any task of the run (docs/decisions/freshness.md).
        reference=DeadlineReference.AVERAGE_RUNTIME(max_runs=10, min_runs=1),
        interval=settings().max_gold_age,
        callback=AsyncCallback(gold_is_late),
        name="gold is late",
    )
