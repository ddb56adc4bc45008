"""Trigger runs of a DAG through Airflow's REST API and follow them."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from stack.console import console
from stack.environment import public_environment
from stack.errors import StackError
from stack.settings import Settings

ENDED = {"success", "failed", "skipped", "removed"}
ACTIVE = {"running", "deferred", "queued"}
POLL_SECONDS = 2
ATTEMPTS = 5  # how often a request is sent if no answer comes within the client's time limit
QUIET_SECONDS = 60  # after this long without output, a line names the active tasks
# Log lines of every task that say nothing about its failure
NOISE = re.compile(
    r"^(\d\d:\d\d:\d\d\s+)?(Running with dbt|Registered adapter|Found \d+ |Concurrency:|Unable to do partial parsing)"
    r"|^\s*$|DagBag|DAG bundles loaded|::(end)?group::|[Pp]artial pars|Task instance is in running state"
)
DBT_ERRORS = "dbt invocation completed with errors: "
DBT_ERROR = re.compile(r" Error in \w+ \S+ \(\S+\)$")
NO_TASKS = (
    "The run {run} succeeded without running any task. Airflow creates no task for a run whose logical date is before "
    "the start of the DAG: choose a later date."
)


class AirflowApi:
    """A logged-in client of the stack's Airflow; a context manager."""

    def __init__(self, settings: Settings) -> None:
        """Log in. Raises StackError if Airflow can't be reached."""
        login = public_environment(settings)
        self.url = login["AIRFLOW_URL"]
        self.logs = settings.home / "log" / "airflow"
        transport = httpx.HTTPTransport(retries=3)
        self.client = httpx.Client(base_url=self.url, timeout=30, transport=transport)
        user = {"username": login["AIRFLOW_USER"], "password": login["AIRFLOW_PASSWORD"]}
        token = self.call("POST", "/auth/token", user)["access_token"]
        self.client.headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON answer. Raises StackError if the answer is an error, or if there is none.

        A request without an answer is sent again, but only if it changes nothing.
        """
        retrying = Retrying(
            retry=retry_if_exception_type(httpx.TimeoutException),
            stop=stop_after_attempt(ATTEMPTS if method == "GET" else 1),
            reraise=True,
        )
        try:
            answer = retrying(self.client.request, method, path, json=body)
        except httpx.TransportError as error:
            raise StackError(
                f"Airflow does not answer at {self.url} ({error}). Is it up? See: make status"
            ) from None
        if answer.is_error:
            raise StackError(f"Airflow refuses {method} {path}: {answer.status_code} {answer.text[:1000]}")
        return dict(answer.json())

    def wait_dag(self, dag: str, seconds: float = 120) -> None:
        """Wait until Airflow has parsed `dag`. Raises StackError with the import errors if it can't."""
        deadline = time.monotonic() + seconds
        path = f"/api/v2/dags?dag_id_pattern={dag}"
        # A stale DAG is one that is no longer in its file.
        while not any(
            known["dag_id"] == dag and not known["is_stale"] for known in self.call("GET", path)["dags"]
        ):
            errors = self.call("GET", "/api/v2/importErrors")["import_errors"]
            if errors:
                raise StackError(
                    "\n".join(f"{error['filename']}:\n{error['stack_trace']}" for error in errors)
                )
            if time.monotonic() > deadline:
                raise StackError(
                    f"Airflow does not know the DAG {dag}; see {self.logs.parent}/dag-processor.log"
                )
            time.sleep(POLL_SECONDS)

    def unpause(self, dag: str) -> None:
        """Let the scheduler start the runs of `dag`, and create those of its schedule."""
        self.call("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})

    def trigger(self, dag: str, params: dict[str, Any], due: datetime | None = None) -> str:
        """Create a run with `params` and return its id; among waiting runs the one `due` earliest starts first."""
        now = datetime.now(UTC)
        # Airflow would name the run by the time it is due; this id has the time of the call.
        body = {"dag_run_id": f"manual__{now.isoformat()}", "run_after": (due or now).isoformat()}
        run = self.call("POST", f"/api/v2/dags/{dag}/dagRuns", {**body, "logical_date": None, "conf": params})
        return str(run["dag_run_id"])

    def active(self, dag: str) -> list[dict[str, Any]]:
        """Return the queued and running runs of `dag`."""
        return list(self.call("GET", f"/api/v2/dags/{dag}/dagRuns?state=queued&state=running")["dag_runs"])

    def backfill(self, dag: str, start: datetime, end: datetime, params: dict[str, Any]) -> None:
        """Repeat each scheduled run of `dag` that starts in [start, end), one after the other, and follow them.

        `params`: the params of each run.

        Raises StackError if a run failed or had no task; the other runs go on all the same.
        """
        # Airflow's `to_date` is the start of the last run, inclusive.
        limits = {"from_date": start.isoformat(), "to_date": (end - timedelta(microseconds=1)).isoformat()}
        options = {
            "dag_id": dag,
            "max_active_runs": 1,
            "reprocess_behavior": "completed",
            "dag_run_conf": params,
        }
        backfill = self.call("POST", "/api/v2/backfills", {**options, **limits})["id"]
        range_filter = f"logical_date_gte={limits['from_date']}&logical_date_lte={limits['to_date']}"
        path = f"/api/v2/dags/{dag}/dagRuns?{quote(range_filter, safe='=&')}&order_by=-end_date"
        printed: set[str] = set()
        failed, empty = [], []
        while True:
            completed = self.call("GET", f"/api/v2/backfills/{backfill}")["completed_at"]
            ended = self.call("GET", f"{path}&state=success&state=failed")["dag_runs"]
            for run in reversed(ended):
                if run["dag_run_id"] not in printed and run["run_type"] == "backfill":
                    printed.add(run["dag_run_id"])
                    console.print(f"  {run['state']:<8} {format_duration(run)}  {run['logical_date']}")
                    if run["state"] == "failed":
                        failed.append(run["logical_date"])
                    elif not self.tasks(dag, run["dag_run_id"]):
                        empty.append(run["dag_run_id"])
            if completed and failed:
                raise StackError(f"Runs that failed: {', '.join(failed)}. See {self.url}/dags/{dag}/runs")
            if completed and empty:
                raise StackError(NO_TASKS.format(run=", ".join(empty)))
            if completed:
                return
            time.sleep(POLL_SECONDS)

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        """Return the task instances of a run, in the order of their end."""
        path = f"/api/v2/dags/{dag}/dagRuns/{quote(run, safe='')}/taskInstances?limit=1000"
        instances = self.call("GET", path)["task_instances"]
        return sorted(instances, key=lambda instance: instance["end_date"] or "")

    def follow(self, dag: str, run: str) -> None:
        """Print a line as each task of the run ends, or each minute; return when the run has succeeded.

        Raises StackError if the run failed, with the error of the first failed task first, or if it had no task.
        """
        path = f"/api/v2/dags/{dag}/dagRuns/{quote(run, safe='')}"
        began = spoke = time.monotonic()
        printed: set[tuple[str, int]] = set()
        waits_for: list[str] = []
        while True:
            state = self.call("GET", path)["state"]
            if state == "queued":
                ahead = [
                    other["dag_run_id"]
                    for other in self.active(dag)
                    if other["state"] == "running" and other["dag_run_id"] != run
                ]
                if ahead not in ([], waits_for):
                    waits_for = ahead
                    console.print(f"  waits for {', '.join(ahead)}")
            tasks = self.tasks(dag, run)
            for task in tasks:
                key = (task["task_id"], task["try_number"])
                if key not in printed and task["state"] in ENDED | {"up_for_retry"}:
                    printed.add(key)
                    spoke = time.monotonic()
                    reason = f": {self.reason(dag, run, task)}" if task["state"] == "up_for_retry" else ""
                    console.print(
                        f"  {spoke - began:5.0f} s  {task['state']:<12} {format_duration(task)}  "
                        f"{task['task_id']}{reason}"
                    )
            if state == "success" and not tasks:
                raise StackError(NO_TASKS.format(run=run))
            if state == "success":
                return
            if state == "failed":
                raise StackError(self.explain(dag, run, tasks))
            if time.monotonic() - spoke > QUIET_SECONDS:
                spoke = time.monotonic()
                active = [f"{task['task_id']} ({task['state']})" for task in tasks if task["state"] in ACTIVE]
                console.print(f"  {spoke - began:5.0f} s  in progress: {', '.join(active) or 'no task yet'}")
            time.sleep(POLL_SECONDS)

    def log_of(self, dag: str, run: str, task: dict[str, Any]) -> Path:
        """Return the log file of a task's last attempt."""
        name = f"dag_id={dag}/run_id={run}/task_id={task['task_id']}/attempt={task['try_number']}.log"
        return self.logs / name

    def reason(self, dag: str, run: str, task: dict[str, Any]) -> str:
        """Return the error that ended the task's last attempt, as one line."""
        return (
            error_in(self.log_of(dag, run, task)) or "its log holds no error; the process was probably killed"
        )

    def explain(self, dag: str, run: str, tasks: list[dict[str, Any]]) -> str:
        """Describe a failed run: its first error first, then where to look, then the other tasks."""
        states = Counter(task["state"] for task in tasks)
        failed = [task for task in tasks if task["state"] == "failed"]
        if not failed:
            return f"The run {run} failed, but no task of it did: {self.url}/dags/{dag}/runs/{quote(run, safe='')}"
        first, *others = failed
        log = self.log_of(dag, run, first)
        lines = [
            f"Task {first['task_id']} failed: {self.reason(dag, run, first)}",
            f"Its page: {self.url}/dags/{dag}/runs/{quote(run, safe='')}/tasks/{first['task_id']}",
            f"The end of its log, {log}:",
            last_events(log),
            *(f"Task {task['task_id']} failed, too: {self.reason(dag, run, task)}" for task in others),
        ]
        if waiting := states["upstream_failed"]:
            lines.append(f"{waiting} later tasks did not run.")
        return "\n".join([*lines, f"The run {run} failed."])


def format_duration(instance: dict[str, Any]) -> str:
    """Return how long a run or a task took, in a fixed width; blank if it ended before it started."""
    return " " * 8 if instance["duration"] is None else f"{instance['duration']:6.1f} s"


def log_events(log: Path) -> Iterator[dict[str, Any]]:
    """Yield the events of a task's log, a JSON object per line; other lines become events, too."""
    for line in log.read_text(errors="replace").splitlines() if log.exists() else []:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        yield event if isinstance(event, dict) else {"event": line}


def error_in(log: Path) -> str:
    """Return the last error in a task's log as one line; empty if there is none."""
    error = ""
    for event in log_events(log):
        if details := event.get("error_detail"):
            error = f"{details[0]['exc_type']}: {details[0]['exc_value']}"
        elif event.get("level") in {"error", "critical"} and not error:
            error = str(event.get("event", ""))
    lines = [line.strip() for line in error.split(DBT_ERRORS)[-1].splitlines() if line.strip()]
    # The first line of dbt's message names only the model and its file.
    count = 2 if lines and DBT_ERROR.search(lines[0]) else 1
    return " ".join(lines[:count])[:500]


def last_events(log: Path, count: int = 12) -> str:
    """Return the last events of a task's log, indented, with their errors and without noise."""
    lines = []
    for event in log_events(log):
        errors = [
            f"{detail['exc_type']}: {detail['exc_value']}" for detail in event.get("error_detail") or []
        ]
        lines += [line for line in (str(event.get("event", "")), *errors) if not NOISE.search(line)]
    return "\n".join(f"  {line[:1000]}" for line in lines[-count:])
