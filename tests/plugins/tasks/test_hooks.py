"""The hooks around a task: they claim the run before it starts, and end its process if it hangs."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, TaskGroup
from airflow.sdk.exceptions import AirflowSkipException

from medallion.engines.leftovers import tag
from medallion.run.lease import LeaseHeldError, hold_lease
from medallion.run.state import claim_run
from medallion.tasks import hooks
from medallion.tasks.dbt import entity_tests
from medallion.tasks.hooks import claim, claim_for_dbt, claim_to_stage
from support.task_instance import Task

from ..conftest import Query


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the tasks whose earlier attempts are ended."""
    tasks: list[str] = []
    monkeypatch.setattr(hooks, "limit_time", lambda context: None)
    monkeypatch.setattr(hooks, "end_earlier_attempt", lambda context: tasks.append(context["ti"].task_id))
    return tasks


def context_of(task: Task, **params: Any) -> dict[str, Any]:
    return {"ti": task, "params": params}


def test_nothing_is_staged_while_publishing_is_held(gold: Query, ended: list[str]) -> None:
    context = context_of(Task("a", "stage.readings_by_day"))
    claim_to_stage(context)
    gold("update audit.pipeline set held_by = 'a roll-back'")
    with pytest.raises(AirflowSkipException, match="held since gold was rolled back by a roll-back"):
        claim_to_stage(context)


def test_claim_takes_the_lease_and_opens_the_attempt(gold: Query, ended: list[str]) -> None:
    run = claim(context_of(Task("a", "bronze.readings")))
    assert gold("select lease_run_id, lease_batch from audit.pipeline") == [("a", run.batch)]
    assert gold("select task_id, status, batch from audit.data_pipeline_runs") == [
        ("bronze.readings", "running", run.batch)
    ]
    assert ended == ["bronze.readings"]


def test_attempt_that_may_not_write_ends_nothing(gold: Query, ended: list[str]) -> None:
    hold_lease(Task("a"))
    with pytest.raises(LeaseHeldError):
        claim(context_of(Task("b", "bronze.readings", runs={"a": "running"})))
    assert ended == []


@pytest.mark.parametrize(
    ("params", "share"),
    [
        ({}, 0.2),
        ({"allow_deletes": False}, 0.2),
        ({"allow_deletes": True}, 1),
        ({"allow_deletes": "yes"}, 0.2),
    ],
)
def test_only_true_allows_deletes(
    gold: Query, ended: list[str], params: dict[str, Any], share: float
) -> None:
    assert claim(context_of(Task("a", "bronze.readings"), **params)).max_deleted_share == share


@pytest.fixture
def tests() -> Task:
    """Return the task that tests the entities. Its operator runs dbt."""
    with (
        DAG("medallion_hourly", schedule=None, tags=["medallion"], user_defined_macros={"tag": tag}) as dag,
        TaskGroup("silver_staging"),
    ):
        entity_tests()
    return Task("a", "silver_staging.test", dag=dag, xcoms={"silver_staging.spark": ["stg_readings"]})


def test_dbt_gets_the_context_in_its_environment(gold: Query, ended: list[str], tests: Task) -> None:
    before = {*tests.task.env}
    claim_for_dbt(context_of(tests))
    assert tests.task.env.keys() - before == {"MEDALLION_RUN"}
    run = json.loads(tests.task.env["MEDALLION_RUN"])
    assert run == asdict(claim_run(tests))
    assert (run["batch"], run["published_batch"], run["compare_whole"]) == (1, 0, "silver")


def test_rendering_a_dbt_task_claims_nothing(gold: Query, tests: Task) -> None:
    trino = SimpleNamespace(host="trino", port=8080, login="medallion")
    tests.task.render_template_fields({"ti": tests, "conn": SimpleNamespace(medallion_trino=trino)})
    assert tests.task.env["MEDALLION_TAG"] == "medallion medallion_hourly.silver_staging.test"
    assert tests.task.select == "path:tests/medallion stg_readings"
    assert gold("select lease_run_id, last_batch from audit.pipeline") == [(None, 0)]


HANGING_TASK = """
import threading
from datetime import timedelta
from types import SimpleNamespace
from medallion.tasks import hooks
hooks.GRACE = timedelta()
hooks.limit_time({"ti": SimpleNamespace(task=SimpleNamespace(execution_timeout=timedelta(seconds=0.1)))})
threading.Thread(target=threading.Event().wait).start()
"""


def test_process_of_a_task_that_hangs_after_its_time_limit_ends() -> None:
    """The main thread has ended, but another thread waits for ever, as a thread of dbt does on a frozen server."""
    done = subprocess.run(
        [sys.executable, "-c", HANGING_TASK],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Airflow tries the task again" in done.stdout
