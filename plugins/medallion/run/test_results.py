"""What dbt's tests found in a try: taken from dbt's events as it runs, kept in `audit.test_results`."""

from typing import Any

from medallion.engines.postgres import Cursor

# Of this process, which is one try.
_results: list[dict[str, Any]] = []


def collect_test_result(event: Any) -> None:
    """Notes what a test found; dbt calls it for each of its events."""
    if event.info.name == "LogTestResult":
        _results.append(
            {"test": event.data.name, "status": event.data.status, "failures": event.data.num_failures}
        )


def record_test_results(cursor: Cursor, identity: dict[str, Any]) -> None:
    """Writes what was noted since, as found by the try of `identity`: `dag`, `run`, `task`, `try`."""
    cursor.executemany(
        """
        insert into audit.test_results
        values (%(dag)s, %(run)s, %(task)s, %(try)s, %(test)s, %(status)s, %(failures)s)
        on conflict (dag_id, run_id, task_id, try_number, test_name) do update set
            status = excluded.status, failures = excluded.failures
        """,
        [identity | result for result in _results],
    )
    _results.clear()
