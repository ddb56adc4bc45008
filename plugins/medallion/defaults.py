"""What all our tasks share: owner, retries, timeouts, macros, notification."""

from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
from pydantic import ImportString, TypeAdapter

from medallion.run_state import run_state
from medallion.settings import settings


def notifiers() -> list[Any]:
    """The notifier that the settings name, as a list of callbacks; empty where none is set.

    Raises ImportError where the path leads nowhere.
    """
    path = settings().notifier
    return [TypeAdapter(ImportString).validate_python(path)(**settings().notifier_arguments)] if path else []


DEFAULT_ARGS: dict[str, Any] = {
    "owner": "data-platform",
    "depends_on_past": False,
    "retries": 4,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=5),
    "execution_timeout": timedelta(hours=2),
    "on_failure_callback": notifiers(),
}

MACROS = {"run_state": run_state}
