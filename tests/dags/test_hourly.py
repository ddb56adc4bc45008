"""The tasks of medallion_hourly and their order, compared with the models in the project's folders."""

from typing import Any

import pytest
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from cosmos.exceptions import CosmosDbtRunError
from cosmos.operators.local import DbtSourceLocalOperator

from medallion import names
from medallion.names import Group, group_of, model_of, task_id
from medallion.project.manifest import ManifestError
from medallion.tasks import dbt

from .project import ENTITY_TABLES, LAYERS, tasks_of

STAGED = {task_id(Group.STAGE, table) for table in LAYERS[Group.GOLD]}
# The steps between `begin` and `end`. Each step waits for all tasks of the steps before it.
STEPS = [
    tasks_of(Group.BRONZE),
    {names.BUILD_ENTITIES},
    {names.TEST_ENTITIES},
    tasks_of(Group.SILVER_MARTS),
    {names.TEST_MARTS} if LAYERS[Group.SILVER_MARTS] else set(),
    tasks_of(Group.GOLD),
    {Group.AUDIT},
    STAGED,
    {Group.PUBLISH},
]
WRITING = {task for step in STEPS for task in step}


def following(dag: DAG, task: str) -> set[str]:
    """Return all direct and indirect downstream tasks of a task."""
    return set(dag.get_task(task).get_flat_relative_ids(upstream=False))


def test_dag_has_no_other_tasks(hourly: DAG) -> None:
    assert set(hourly.task_ids) == WRITING | {names.BEGIN, names.FRESHNESS, names.END}


@pytest.mark.parametrize("group", LAYERS)
def test_one_task_per_model(hourly: DAG, group: Group) -> None:
    assert {task for task in hourly.task_ids if group_of(task) == group} - {names.TEST_MARTS} == tasks_of(
        group
    )
    for name in tasks_of(group):
        task: Any = hourly.get_task(name)
        assert task.select.startswith("fqn:medallion.") and task.select.endswith(f".{model_of(name)}")
        assert task.max_active_tis_per_dag == 1


def test_tables_that_spark_builds_are_tested_on_trino_before_gold(hourly: DAG) -> None:
    """dbt's selection `buildable` leaves out tests that also read a model of a later step; they run in that step."""
    for name in tasks_of(Group.SILVER_MARTS):
        task: Any = hourly.get_task(name)
        assert {"unit_test", "test"} <= {*task.dbt_cmd_flags}
    if LAYERS[Group.SILVER_MARTS]:
        tested: Any = hourly.get_task(names.TEST_MARTS)
        assert (tested.select, tested.indirect_selection) == (names.MODELS[Group.SILVER_MARTS], "buildable")
        assert "test" not in tested.dbt_cmd_flags


@pytest.mark.skipif(not LAYERS[Group.SILVER_MARTS], reason="the project has no marts")
@pytest.mark.parametrize(
    ("name", "of"), [("TEST_TASK", "the task that tests"), ("QUARANTINE", "a table of the Spark job")]
)
def test_mart_with_a_name_that_is_taken_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, of: str
) -> None:
    mart = LAYERS[Group.SILVER_MARTS][0]
    monkeypatch.setattr(dbt, name, mart if name == "TEST_TASK" else names.lake_table(names.SILVER, mart))
    with (
        DAG("any", schedule=None),
        pytest.raises(ManifestError, match=f"The model {mart} of models/silver/marts has the name of {of}"),
    ):
        dbt.dbt_models(Group.SILVER_MARTS)


def test_steps_follow_one_another(hourly: DAG) -> None:
    for position, step in enumerate(STEPS):
        later = {task for after in STEPS[position + 1 :] for task in after}
        for task in step:
            assert following(hourly, task) == later | {names.END}, task


def test_entities_are_built_by_one_submit(hourly: DAG) -> None:
    [job] = [task for task in hourly.tasks if isinstance(task, SparkSubmitOperator)]
    assert job.task_id == names.BUILD_ENTITIES
    assert [names.staging_table(entity) for entity in job.entities] == ENTITY_TABLES  # type: ignore[attr-defined]


def test_run_without_new_rows_is_published(hourly: DAG) -> None:
    """The audit, `publish` and the Spark job also run if tasks before them were skipped."""
    proceeding = {Group.AUDIT, Group.PUBLISH, *([names.BUILD_ENTITIES] if LAYERS[Group.BRONZE] else [])}
    for name in WRITING:
        expected = "none_failed" if name in proceeding else "all_success"
        assert hourly.get_task(name).trigger_rule == expected, name


def test_each_gold_table_is_staged_by_trino(hourly: DAG) -> None:
    for name in STAGED:
        task = hourly.get_task(name)
        assert isinstance(task, SQLExecuteQueryOperator) and task.conn_id == "medallion_trino"


def test_lease_is_released_after_everything_that_writes(hourly: DAG) -> None:
    begin, end = hourly.get_task(names.BEGIN), hourly.get_task(names.END)
    assert begin.is_setup and end.is_teardown
    assert end.upstream_task_ids >= WRITING
    assert following(hourly, names.BEGIN) == WRITING | {names.FRESHNESS, names.END}


def test_old_source_blocks_nothing(hourly: DAG) -> None:
    freshness = hourly.get_task(names.FRESHNESS)
    assert freshness.downstream_task_ids == set()
    assert freshness.is_teardown and not freshness.on_failure_fail_dagrun


@pytest.mark.parametrize(
    ("output", "error"),
    [
        # Cosmos reports a stale source with the first text, and a database that is down with the second.
        ("meters: None", AirflowFailException),
        ("meters: Database Error in source meters\n  Connection refused", CosmosDbtRunError),
    ],
)
def test_old_source_fails_at_once_and_a_lost_engine_is_retried(
    hourly: DAG, monkeypatch: pytest.MonkeyPatch, output: str, error: type[Exception]
) -> None:
    def build_and_run_cmd(*_: object, **__: object) -> None:
        raise CosmosDbtRunError(f"dbt invocation completed with errors: {output}")

    monkeypatch.setattr(DbtSourceLocalOperator, "build_and_run_cmd", build_and_run_cmd)
    with pytest.raises(error, match="meters"):
        hourly.get_task(names.FRESHNESS).execute({})


def test_tables_are_assets(hourly: DAG) -> None:
    schemas = {Group.BRONZE: names.BRONZE, Group.SILVER_MARTS: names.SILVER, Group.GOLD: names.GOLD}
    tables = {names.lake_table(schemas[group], model) for group, models in LAYERS.items() for model in models}
    tables |= {names.lake_table(names.SILVER, table) for table in ENTITY_TABLES}
    outlets = {asset.name for task in hourly.tasks for asset in task.outlets}
    assert outlets == {f"lake.{table}" for table in tables} | {"gold"}
