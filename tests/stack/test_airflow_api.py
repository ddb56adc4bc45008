"""Following a run until it ends, with simulated answers of Airflow's API and simulated task logs."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path
from typing import Any

import httpx
import pytest

from stack import airflow_api
from stack.airflow_api import AirflowApi, error_in, last_events
from stack.errors import StackError
from stack.settings import Settings

HOUR = datetime(2018, 1, 1, tzinfo=UTC)


def task(name: str, state: str, try_number: int = 1, end: str = "1") -> dict[str, Any]:
    return {
        "task_id": name, "state": state, "try_number": try_number, "end_date": end, "duration": 1.0,
    }  # fmt: skip


def write_log(path: Path, *events: dict[str, Any] | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join((event if isinstance(event, str) else json.dumps(event)) + "\n" for event in events)
    )


def failure(kind: str, message: str) -> dict[str, Any]:
    return {
        "event": "Task failed with exception",
        "level": "error",
        "error_detail": [
            {"exc_type": kind, "exc_value": message},
            {"exc_type": "Cause", "exc_value": "deeper"},
        ],
    }


Follow = Callable[..., AirflowApi]


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Follow:
    """Answer each poll with the next pair (state of the run, its tasks), and repeat the last pair."""
    monkeypatch.setattr(airflow_api, "POLL_SECONDS", 0)

    def configure(*polls: tuple[str, list[dict[str, Any]]]) -> AirflowApi:
        def answers() -> Iterator[tuple[str, list[dict[str, Any]]]]:
            yield from polls
            yield from repeat(polls[-1])

        states = answers()
        client = object.__new__(AirflowApi)
        client.url, client.logs = "http://airflow", tmp_path
        tasks: list[dict[str, Any]] = []

        def call(method: str, path: str, body: Any = None) -> dict[str, Any]:
            nonlocal tasks
            if path.endswith("/api/v2/backfills"):
                return {"id": 1}
            if "/backfills/" in path:
                return {"completed_at": "now"}
            if "taskInstances" in path:
                return {"task_instances": tasks}
            if "dagRuns?" in path:
                state, tasks = next(states)
                run = {"dag_run_id": "r", "run_type": "backfill", "state": state, "duration": 1.0}
                return {"dag_runs": [run | {"logical_date": "2018-01-01"}]}
            state, tasks = next(states)
            return {"state": state}

        monkeypatch.setattr(client, "call", call)
        return client

    return configure


def log_path(root: Path, name: str, attempt: int = 1) -> Path:
    return root / f"dag_id=d/run_id=r/task_id={name}/attempt={attempt}.log"


def test_an_airflow_that_is_down_is_reported_with_advice(settings: Settings, closed_port: int) -> None:
    with pytest.raises(StackError, match="make status"):
        AirflowApi(settings.model_copy(update={"airflow_port": closed_port}))


def test_a_failed_run_is_explained_by_its_first_error(
    api: Follow, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = [task(f"gold.t{number}", "upstream_failed", end="3") for number in range(20)]
    tasks = [task("end", "failed", end="9"), task("bronze.events", "failed", 2, end="2"), *later]
    write_log(
        log_path(tmp_path, "bronze.events", 2),
        {"event": "DAG bundles loaded: dags"},
        {"event": "Filling up the DagBag from dags/medallion_hourly.py"},
        {"event": "10:00:00  Running with dbt=1.12.6"},
        failure("ValueError", "no such table\nand more"),
    )
    write_log(log_path(tmp_path, "end"), failure("OSError", "gone"))
    with pytest.raises(StackError) as raised:
        api(("failed", tasks)).follow("d", "r")
    lines = str(raised.value).splitlines()
    assert lines[0] == "Task bronze.events failed: ValueError: no such table"
    assert "Task end failed, too: OSError: gone" in lines
    assert "20 later tasks did not run." in lines
    for noise in ("DagBag", "bundles", "Running with dbt", "upstream_failed"):
        assert noise not in str(raised.value) + capsys.readouterr().out


def test_a_retry_shows_its_reason(api: Follow, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_log(log_path(tmp_path, "bronze.a"), failure("TrinoError", "line 1: memory limit\nline 2"))
    retried = [task("bronze.a", "up_for_retry"), task("bronze.b", "up_for_retry")]
    done = [task("bronze.a", "success", 2), task("bronze.b", "success", 2)]
    api(("running", retried), ("running", retried), ("success", done)).follow("d", "r")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].endswith("bronze.a: TrinoError: line 1: memory limit")
    assert lines[1].endswith("bronze.b: its log holds no error; the process was probably killed")


def test_a_long_task_is_named_each_minute(
    api: Follow, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10_000, 30))
    monkeypatch.setattr(airflow_api.time, "monotonic", lambda: next(clock))
    running = ("running", [task("bronze.a", "running"), task("bronze.b", "scheduled")])
    api(running, running, running, ("success", [task("bronze.a", "success")])).follow("d", "r")
    lines = capsys.readouterr().out.splitlines()
    assert 2 <= len(lines) <= 3
    assert "in progress: bronze.a (running)" in lines[0]
    assert "bronze.b" not in lines[0]


def test_a_run_without_a_task_is_an_error(api: Follow) -> None:
    with pytest.raises(StackError, match=r"The run r succeeded without running any task.*before the start"):
        api(("success", [])).follow("d", "r")
    with pytest.raises(StackError, match=r"The run r succeeded without running any task"):
        api(("success", [])).backfill("d", HOUR, HOUR, {})
    api(("success", [task("begin", "success")])).backfill("d", HOUR, HOUR, {})


def test_the_end_of_a_task_log_has_its_errors(tmp_path: Path) -> None:
    log = tmp_path / "attempt=1.log"
    write_log(log, {"event": "Starting"}, failure("ValueError", "no such table"), "plain text", "[1]")
    assert last_events(log).splitlines() == [
        "  Starting",
        "  Task failed with exception",
        "  ValueError: no such table",
        "  Cause: deeper",
        "  plain text",
        "  [1]",
    ]
    assert error_in(log) == "ValueError: no such table"


def test_an_error_event_without_an_exception_is_the_reason(tmp_path: Path) -> None:
    write_log(
        tmp_path / "log",
        {"event": "killed by the system", "level": "error"},
        {"event": "bye", "level": "info"},
    )
    assert error_in(tmp_path / "log") == "killed by the system"


def test_an_error_of_dbt_is_given_with_the_engines_message(tmp_path: Path) -> None:
    message = (
        "dbt invocation completed with errors: events: Database Error in model events (models/bronze/events.sql)\n"
        "  TrinoUserError(type=USER_ERROR, message=\"Column 'x' cannot be resolved\")\n  compiled code at target"
    )
    write_log(tmp_path / "log", failure("CosmosDbtRunError", message))
    assert error_in(tmp_path / "log") == (
        "events: Database Error in model events (models/bronze/events.sql) "
        "TrinoUserError(type=USER_ERROR, message=\"Column 'x' cannot be resolved\")"
    )


def test_a_missing_log_is_no_error(tmp_path: Path) -> None:
    assert last_events(tmp_path / "none.log") == error_in(tmp_path / "none.log") == ""


@pytest.mark.parametrize(("method", "attempts"), [("GET", airflow_api.ATTEMPTS), ("POST", 1)])
def test_only_a_question_is_asked_again_if_the_answer_takes_long(method: str, attempts: int) -> None:
    requests = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal requests
        requests += 1
        if requests < attempts:
            raise httpx.ReadTimeout("timed out")
        return httpx.Response(200, json={"state": "running"})

    client = object.__new__(AirflowApi)
    client.url = "http://airflow"
    client.client = httpx.Client(base_url=client.url, transport=httpx.MockTransport(answer))
    assert client.call(method, "/run") == {"state": "running"}
    requests, attempts = 0, attempts + 1
    with pytest.raises(StackError, match="does not answer"):
        client.call(method, "/run")
