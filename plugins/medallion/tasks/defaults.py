"""Arguments that all our tasks and DAGs share: owner, retries, timeouts, macros, notification."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Context, RetryDecision, RetryPolicy

from medallion.engines.leftovers import tag
from medallion.settings import SQL, settings
from medallion.tasks.alerts import notifiers
from medallion.tasks.hooks import finish, start

# Messages of the engines and of dbt for errors that a retry cannot fix.
PERMANENT = re.compile(
    r"Got \d+ results?, configured to fail|Compilation Error|SYNTAX_ERROR|COLUMN_NOT_FOUND|FUNCTION_NOT_FOUND"
    r"|TYPE_MISMATCH|UNRESOLVED_COLUMN|UNRESOLVED_ROUTINE|MULTIPLE_MATCHES|violates foreign key|invalid contract"
)


class FailFast(RetryPolicy):
    """Retries all errors except those that a retry cannot fix: a failed data test, bad SQL.

    It decides by the message, because Cosmos raises one type of error for everything.
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Decide from the exception's text."""
        if match := PERMANENT.search(str(exception)):
            return RetryDecision.fail(f"{match[0]}: a retry would fail in the same way")
        return RetryDecision.default()


DEFAULT_ARGS: dict[str, Any] = {
    "owner": "data-platform",
    "depends_on_past": False,
    "retries": 4,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=5),
    "retry_policy": FailFast(),
    "execution_timeout": settings().task_timeout,
    "on_failure_callback": notifiers(),
    "pre_execute": start,
    "post_execute": finish,
}

DAG_ARGUMENTS: dict[str, Any] = {
    "start_date": datetime(2016, 1, 1, tzinfo=UTC),
    "catchup": False,
    "max_active_runs": 1,
    "dagrun_timeout": timedelta(hours=12),
    "default_args": DEFAULT_ARGS,
    "template_searchpath": [str(SQL)],
    "user_defined_macros": {"tag": tag},
}
