"""The tasks that run Spark jobs: their arguments, and what they do before the job starts."""

import json
from dataclasses import asdict
from typing import Any

import pytest
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException

from medallion.engines.leftovers import tag
from medallion.project.declarations import declarations
from medallion.run.lease import LeaseHeldError, hold_lease
from medallion.run.state import RunState, claim_run
from medallion.settings import SPARK_JOBS
from medallion.tasks import hooks, spark
from medallion.tasks.spark import SparkJobOperator, build_entities, compact_tables
from support.task_instance import MAINTENANCE, Task

from ..conftest import Query

BUILD, COMPACT = Task("a", "silver_staging.spark"), Task("a", "compact", dag=MAINTENANCE)


@pytest.fixture(autouse=True)
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the names of the drivers that are ended."""
    names: list[str] = []
    monkeypatch.setattr(spark, "end_spark_drivers", names.append)
    monkeypatch.setattr(hooks, "limit_time", lambda context: None)
    return names


@pytest.fixture
def new_rows(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the entities of this list have new rows; a test may change the list."""
    tables = ["readings"]

    def tables_with_new_rows(run: RunState, entities: list[str]) -> list[str]:
        assert entities == ["devices", "readings"]
        return tables

    monkeypatch.setattr(spark, "tables_with_new_rows", tables_with_new_rows)
    return tables


def prepare(operator: SparkJobOperator, task: Task) -> list[str]:
    """Run an operator's `pre_execute`; returns the arguments of its Spark job."""
    operator.pre_execute({"ti": task, "params": {}})  # type: ignore[typeddict-item]
    return [str(word) for word in operator.application_args or ()]


def test_first_attempt_ends_the_driver_that_another_run_left(
    gold: Query, new_rows: list[str], ended: list[str]
) -> None:
    prepare(build_entities(), BUILD)
    assert ended == ["medallion medallion_hourly.silver_staging.spark"]


def test_attempt_that_may_not_write_ends_no_driver(gold: Query, ended: list[str]) -> None:
    hold_lease(Task("a"))
    with pytest.raises(LeaseHeldError):
        prepare(build_entities(), Task("b", "silver_staging.spark", runs={"a": "running"}))
    assert ended == []


def test_entities_with_new_rows_are_built(gold: Query, new_rows: list[str]) -> None:
    job = build_entities()
    option, run, *arguments = prepare(job, BUILD)
    assert (option, json.loads(run)) == ("--run", asdict(claim_run(BUILD)))
    assert arguments == ["--entity", declarations()["readings"].json()]
    assert job.application == str(SPARK_JOBS / "build_entities.py")


def test_built_entities_are_returned_for_their_tests(
    gold: Query, new_rows: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SparkSubmitOperator, "execute", lambda self, context: None)
    job = build_entities()
    new_rows.append("devices")
    built = [json.loads(argument)["name"] for argument in prepare(job, BUILD)[3::2]]
    assert built == ["readings", "devices"]
    assert job.execute({}) == ["stg_readings", "stg_devices"]


def test_without_new_rows_the_job_is_skipped(gold: Query, new_rows: list[str]) -> None:
    new_rows.clear()
    with pytest.raises(AirflowSkipException, match="no new rows since the last publication"):
        prepare(build_entities(), BUILD)
    # Publishing reads the attempts, so this one is recorded although no Spark job starts.
    assert gold("select task_id, batch from audit.data_pipeline_runs") == [("silver_staging.spark", 1)]


def test_tables_that_need_it_are_compacted(gold: Query) -> None:
    measured = [{"name": "bronze.readings", "compact": True}, {"name": "bronze.devices", "compact": False}]
    task = Task("a", "compact", dag=MAINTENANCE, xcoms={"measure": measured})
    job = compact_tables()
    option, run, *arguments = prepare(job, task)
    assert (option, json.loads(run)) == ("--run", asdict(claim_run(task)))
    assert arguments == ["--tables", json.dumps(measured[:1]), "--min-input-files", "5"]
    assert job.application == str(SPARK_JOBS / "compact_tables.py")


@pytest.mark.parametrize(("create", "task"), [(build_entities, BUILD), (compact_tables, COMPACT)])
def test_rendering_a_job_claims_nothing(gold: Query, create: Any, task: Task) -> None:
    with DAG("medallion_hourly", schedule=None, user_defined_macros={"tag": tag}):
        job = create()
    job.render_template_fields({"ti": task, "params": {}})
    assert job.name == f"medallion {task.dag_id}.{task.task_id}"
    assert gold("select lease_run_id, last_batch from audit.pipeline") == [(None, 0)]
    assert gold("select count(*) from audit.data_pipeline_runs") == [(0,)]


@pytest.mark.parametrize("create", [build_entities, compact_tables])
def test_job_is_named_by_its_tag_and_runs_once_at_a_time(create: Any) -> None:
    job = create()
    assert (job.name, job.max_active_tis_per_dag) == ("{{ tag(ti) }}", 1)
