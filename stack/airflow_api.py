"""Triggers runs of a DAG through Airflow's REST API and follows them."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from stack.console import console
from stack.environment import public_environment
from stack.errors import StackError
from stack.settings import Settings

ENDED = {"success", "failed", "skipped", "upstream_failed", "removed"}
POLL_SECONDS = 2


class AirflowApi:
    """A logged-in client of the stack's Airflow; a context manager."""

    def __init__(self, settings: Settings) -> None:
        """Log in. Raises StackError where Airflow can't be reached."""
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
        """Return the JSON answer. Raises StackError with Airflow's own words on any other."""
        try:
            answer = self.client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise StackError(
                f"Airflow does not answer at {self.url} ({error}). Is it up? See: make status"
            ) from None
        if answer.is_error:
            raise StackError(f"Airflow refuses {method} {path}: {answer.status_code} {answer.text[:1000]}")
        return dict(answer.json())

    def wait_dag(self, dag: str, seconds: float = 120) -> None:
        """Wait until Airflow has parsed `dag`. Raises StackError with the import errors where it does not."""
        deadline = time.monotonic() + seconds
        # A stale one was parsed once, and no longer.
        path = f"/api/v2/dags?dag_id_pattern={dag}"
        while not any(
            each["dag_id"] == dag and not each["is_stale"] for each in self.call("GET", path)["dags"]
        ):
            errors = self.call("GET", "/api/v2/importErrors")["import_errors"]
            if errors:
                raise StackError("\n".join(f"{each['filename']}:\n{each['stack_trace']}" for each in errors))
            if time.monotonic() > deadline:
                raise StackError(
                    f"Airflow does not know the DAG {dag}; see {self.logs.parent}/dag-processor.log"
                )
            time.sleep(POLL_SECONDS)

    def unpause(self, dag: str) -> None:
        """Let the scheduler work off the runs of `dag`, and make those of its schedule."""
        self.call("PATCH", f"/api/v2/dags/{dag}", {"is_paused": False})

    def trigger(self, dag: str, params: dict[str, Any], due: datetime | None = None) -> str:
        """Ask for a run with `params` and return its id; among waiting runs the one `due` earliest goes first."""
        now = datetime.now(UTC)
        # Named by now: Airflow would name it by the moment it is due.
        body = {"dag_run_id": f"manual__{now.isoformat()}", "run_after": (due or now).isoformat()}
        run = self.call("POST", f"/api/v2/dags/{dag}/dagRuns", {**body, "logical_date": None, "conf": params})
        return str(run["dag_run_id"])

    def active(self, dag: str) -> list[dict[str, Any]]:
        """Return the runs of `dag` that wait or run."""
        return list(self.call("GET", f"/api/v2/dags/{dag}/dagRuns?state=queued&state=running")["dag_runs"])

    def backfill(self, dag: str, start: datetime, end: datetime) -> None:
        """Make each scheduled run of `dag` that starts from `start` to before `end` again; follow one after the other.

        Raises StackError where one failed; the others are worked off all the same.
        """
        # Airflow takes the last run's start for the end.
        wanted = {"from_date": start.isoformat(), "to_date": (end - timedelta(microseconds=1)).isoformat()}
        options = {"dag_id": dag, "max_active_runs": 1, "reprocess_behavior": "completed"}
        asked = self.call("POST", "/api/v2/backfills", {**options, **wanted})["id"]
        range_filter = f"logical_date_gte={wanted['from_date']}&logical_date_lte={wanted['to_date']}"
        path = f"/api/v2/dags/{dag}/dagRuns?{quote(range_filter, safe='=&')}&order_by=-end_date"
        shown: set[str] = set()
        failed = []
        while True:
            ended = self.call("GET", f"/api/v2/backfills/{asked}")["completed_at"]
            done = self.call("GET", f"{path}&state=success&state=failed")["dag_runs"]
            for run in reversed(done):
                if run["dag_run_id"] not in shown and run["run_type"] == "backfill":
                    shown.add(run["dag_run_id"])
                    console.print(f"  {run['state']:<8} {seconds(run)}  {run['logical_date']}")
                    failed += [run["logical_date"]] if run["state"] == "failed" else []
            if ended and failed:
                raise StackError(f"Runs that failed: {', '.join(failed)}. See {self.url}/dags/{dag}/runs")
            if ended:
                return
            time.sleep(POLL_SECONDS)

    def follow(self, dag: str, run: str) -> None:
        """Print a line as each task of the run ends; return when the run has succeeded.

        Raises StackError where it failed, with the end of the failed tasks' logs and where to see them whole.
        """
        path = f"/api/v2/dags/{dag}/dagRuns/{quote(run, safe='')}"
        began = time.monotonic()
        shown: set[tuple[str, int]] = set()
        waits_for: list[str] = []
        while True:
            state = self.call("GET", path)["state"]
            if state == "queued":
                ahead = [each["dag_run_id"] for each in self.active(dag) if each["state"] == "running"]
                if ahead not in ([], waits_for):
                    waits_for = ahead
                    console.print(f"  waits for {', '.join(ahead)}")
            tasks = self.call("GET", f"{path}/taskInstances?limit=1000")["task_instances"]
            for each in sorted(tasks, key=lambda one: one["end_date"] or ""):
                key = (each["task_id"], each["try_number"])
                if key not in shown and each["state"] in ENDED | {"up_for_retry"}:
                    shown.add(key)
                    console.print(
                        f"  {time.monotonic() - began:5.0f} s  {each['state']:<15} {seconds(each)}  {each['task_id']}"
                    )
            if state == "success":
                return
            if state == "failed":
                failed = [each for each in tasks if each["state"] == "failed"]
                raise StackError(
                    "\n".join([f"The run {run} failed.", *(self.explain(dag, run, each) for each in failed)])
                )
            time.sleep(POLL_SECONDS)

    def explain(self, dag: str, run: str, task: dict[str, Any]) -> str:
        """Say where the log of a failed task is, with its last words."""
        name = f"dag_id={dag}/run_id={run}/task_id={task['task_id']}/attempt={task['try_number']}.log"
        page = f"{self.url}/dags/{dag}/runs/{quote(run, safe='')}/tasks/{task['task_id']}"
        return (
            f"Task {task['task_id']}: {page}\nThe end of {self.logs / name}:\n{last_events(self.logs / name)}"
        )


def seconds(ended: dict[str, Any]) -> str:
    """Return how long a run or a task took, as wide for one that ended before it started."""
    return " " * 8 if ended["duration"] is None else f"{ended['duration']:6.1f} s"


def last_events(log: Path, count: int = 12) -> str:
    """Return the last events of a task's log (a JSON object a line), indented, with the error each carries."""
    lines = log.read_text(errors="replace").splitlines()[-count:] if log.exists() else []
    shown = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            shown.append(line)
            continue
        errors = [f"{each['exc_type']}: {each['exc_value']}" for each in event.get("error_detail") or []]
        shown += [str(event.get("event", "")), *errors]
    return "\n".join(f"  {line[:1000]}" for line in shown)
