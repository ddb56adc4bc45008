"""Collects the results of dbt's tests from dbt's events. A process runs one attempt, so all belong to it."""

from typing import Any

from medallion.store.attempts import TestResult

_results: list[TestResult] = []


def collect_test_result(event: Any) -> None:
    """Keep the result of a test; dbt calls this for each of its events."""
    if event.info.name == "LogTestResult":
        _results.append(TestResult(event.data.name, event.data.status, event.data.num_failures))


def collected_results() -> list[TestResult]:
    """Return the results collected so far."""
    return _results


def forget_results() -> None:
    """Forget the results, once they are written."""
    _results.clear()
