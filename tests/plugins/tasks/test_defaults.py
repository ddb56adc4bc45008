"""Retries, settings and contracts."""

from datetime import UTC, datetime, timedelta

import pytest
from airflow.sdk import RetryAction

from medallion.project.contracts import gold_tables, postgres_type
from medallion.settings import Settings, settings
from medallion.tasks.defaults import FailFast


@pytest.mark.parametrize(
    "message",
    [
        "dbt invocation completed with errors: unique_key_orders: Got 3 results, configured to fail if != 0",
        'TrinoUserError(type=USER_ERROR, name=COLUMN_NOT_FOUND, message="line 1:8")',
        "[UNRESOLVED_COLUMN.WITH_SUGGESTION] A column cannot be resolved",
        "Compilation Error in model orders",
        "Got 1 result, configured to fail if != 0",
        "TrinoUserError(type=USER_ERROR, name=SYNTAX_ERROR, message=\"line 1:1: mismatched input 'selec'\")",
        "TrinoUserError(type=USER_ERROR, name=TYPE_MISMATCH, message='= is not applicable')",
        "TrinoUserError(type=USER_ERROR, name=FUNCTION_NOT_FOUND, message='sums')",
        "[PARSE_SYNTAX_ERROR] Syntax error at or near 'selec'. SQLSTATE: 42601",
        "This model has an enforced contract that failed. invalid contract",
    ],
)
def test_what_a_retry_cannot_mend_fails_at_once(message: str) -> None:
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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_REJECTED_SHARE", "2"),
        ("LOOKBACK", "a while"),
        ("LOOKBACK", "-PT1M"),
        ("CHUNK_ROWS", "0"),
        ("TASK_TIMEOUT", "PT0S"),
        ("HISTORY_START", "once"),
        ("SCHEDULE", "every hour"),
        ("NOTIFIER_ARGUMENTS", '{"to": '),
    ],
)
def test_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"MEDALLION_{name}", value)
    with pytest.raises(ValueError, match=f"MEDALLION_{name}"):
        settings()


def test_defaults_are_those_of_the_readme() -> None:
    found = Settings()
    assert (found.schedule, found.lookback, found.history_start) == ("0 * * * *", timedelta(minutes=15), None)
    assert (found.max_rejected_share, found.max_rejected_from) == (0.05, 100)


def test_history_start_is_a_moment_of_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = datetime(2017, 1, 1, 3, tzinfo=UTC)
    for text in ("2017-01-01T03:00:00", "2017-01-01T00:00:00-03:00"):
        monkeypatch.setenv("MEDALLION_HISTORY_START", text)
        found = Settings().history_start
        assert found == expected and found is not None and found.utcoffset() == timedelta()


@pytest.mark.parametrize(
    ("trino", "postgres"),
    [
        ("varchar", "text"),
        ("bigint", "bigint"),
        ("date", "date"),
        ("timestamp(6)", "timestamp without time zone"),
        ("decimal(18, 4)", "numeric(18,4)"),
    ],
)
def test_types_of_contracts(trino: str, postgres: str) -> None:
    assert postgres_type(trino) == postgres


@pytest.mark.parametrize(
    "name", ["timestamp(6) with time zone", "integer", "array(varchar)", "row(a bigint)"]
)
def test_type_that_no_contract_uses_is_refused(name: str) -> None:
    with pytest.raises(KeyError):
        postgres_type(name)


def test_wrong_setting_is_told_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALLION_CHUNK_ROWS", "many")
    with pytest.raises(ValueError, match="MEDALLION_CHUNK_ROWS: Input should be a valid integer"):
        settings()


def test_gold_tables_have_their_keys() -> None:
    found = {table.name: table.key for table in gold_tables()}
    assert (
        found
        | {
            "sales_by_category_month": ["month", "category"],
            "readings_by_day": ["day"],
            "customer_analytics": ["customer_unique_id"],
            "product_analytics": ["product_id"],
            "devices_by_site": ["seller_id"],
            "readings_by_device_month": ["state", "month"],
        }
        == found
    )
