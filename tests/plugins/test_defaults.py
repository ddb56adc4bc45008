"""Retries, settings and tags."""

import re

import pytest
from airflow.sdk import RetryAction

from medallion.defaults import FailFast
from medallion.engines import ANY_TAG, tag
from medallion.gold import gold_tables, postgres_type
from medallion.settings import settings
from task_instance import Task


@pytest.mark.parametrize(
    "message",
    [
        "dbt invocation completed with errors: unique_key_orders: Got 3 results, configured to fail if != 0",
        'TrinoUserError(type=USER_ERROR, name=COLUMN_NOT_FOUND, message="line 1:8")',
        "[UNRESOLVED_COLUMN.WITH_SUGGESTION] A column cannot be resolved",
        "Compilation Error in model orders",
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


def test_tags_of_tasks_match_and_those_of_people_do_not() -> None:
    assert re.fullmatch(ANY_TAG, tag(Task("a", task_id="gold.sales_by_day")))
    assert not re.fullmatch(ANY_TAG, "medallion by hand")


def test_contract_types_in_postgresql() -> None:
    assert postgres_type("decimal(18, 2)") == "numeric(18,2)"
    with pytest.raises(KeyError):
        postgres_type("row(a bigint)")


def test_gold_tables_are_those_of_the_design() -> None:
    assert {table.name: table.key for table in gold_tables()} == {
        "sales_by_category_month": ["month", "category"],
        "sales_by_day": ["day"],
        "customer_analytics": ["customer_unique_id"],
        "product_analytics": ["product_id"],
        "seller_analytics": ["seller_id"],
        "delivery_by_state_month": ["state", "month"],
    }
