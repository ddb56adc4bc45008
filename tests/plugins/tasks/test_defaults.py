"""Which errors of a task are retried."""

import pytest
from airflow.sdk import RetryAction

from medallion.tasks.defaults import FailFast


@pytest.mark.parametrize(
    "message",
    [
        "dbt invocation completed with errors: unique_key_readings: Got 3 results, configured to fail if != 0",
        'TrinoUserError(type=USER_ERROR, name=COLUMN_NOT_FOUND, message="line 1:8")',
        "[UNRESOLVED_COLUMN.WITH_SUGGESTION] A column cannot be resolved",
        "Compilation Error in model readings",
        "Got 1 result, configured to fail if != 0",
        "TrinoUserError(type=USER_ERROR, name=SYNTAX_ERROR, message=\"line 1:1: mismatched input 'selec'\")",
        "TrinoUserError(type=USER_ERROR, name=TYPE_MISMATCH, message='= is not applicable')",
        "TrinoUserError(type=USER_ERROR, name=FUNCTION_NOT_FOUND, message='sums')",
        "[PARSE_SYNTAX_ERROR] Syntax error at or near 'selec'. SQLSTATE: 42601",
        "This model has an enforced contract that failed. invalid contract",
    ],
)
def test_error_that_a_retry_cannot_fix_fails_at_once(message: str) -> None:
    assert FailFast().evaluate(Exception(message), 1, 4).action is RetryAction.FAIL


@pytest.mark.parametrize(
    "message",
    [
        "Failed to establish a new connection: [Errno 111] Connection refused",
        "TrinoQueryError(type=INTERNAL_ERROR, name=SERVER_SHUTTING_DOWN)",
        "Cannot execute: ['spark-submit']. Error code is: 1.",
        "Got 3 results, configured to warn if != 0",
        "HTTPConnectionPool(host='trino', port=8080): Max retries exceeded (Connection refused)",
        "TrinoQueryError(type=INSUFFICIENT_RESOURCES, name=EXCEEDED_GLOBAL_MEMORY_LIMIT)",
        "TrinoExternalError(type=EXTERNAL, name=ICEBERG_COMMIT_ERROR, message='Failed to commit')",
        "server closed the connection unexpectedly",
        "",
    ],
)
def test_anything_else_is_retried(message: str) -> None:
    assert FailFast().evaluate(Exception(message), 1, 4).action is RetryAction.DEFAULT
