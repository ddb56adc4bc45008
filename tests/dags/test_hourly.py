"""The graph of medallion_hourly, against the models that stand on disk."""

from pathlib import Path
from typing import Any

import pytest
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from cosmos.exceptions import CosmosDbtRunError
from cosmos.operators.local import DbtSourceLocalOperator

MODELS = Path(__file__).parents[2] / "include" / "dbt" / "models"


def names(folder: str) -> set[str]:
    return {path.stem for path in (MODELS / folder).glob("*.sql")}


LAYERS = {"bronze": names("bronze"), "silver": names("silver/marts"), "gold": names("gold")}
ENTITIES = names("silver/staging")


def label(dag: DAG, group: str) -> set[str]:
    return {task_id.partition(".")[2] for task_id in dag.task_ids if task_id.startswith(f"{group}.")}


def after(dag: DAG, task_id: str) -> set[str]:
    return set(dag.get_task(task_id).get_flat_relative_ids(upstream=False))


@pytest.mark.parametrize("layer", LAYERS)
def test_one_task_per_model(hourly: DAG, layer: str) -> None:
    assert len(LAYERS[layer]) >= 5
    assert label(hourly, layer) == LAYERS[layer]
    for name in LAYERS[layer]:
        task: Any = hourly.get_task(f"{layer}.{name}")
        assert task.select.startswith("fqn:medallion.") and task.select.endswith(f".{name}")
        assert task.max_active_tis_per_dag == 1


def test_entities_are_made_by_one_submit_after_bronze(hourly: DAG) -> None:
    [job] = [task for task in hourly.tasks if isinstance(task, SparkSubmitOperator)]
    arguments = job.application_args
    assert arguments[arguments.index("--entities") + 1].split(",") == job.entities
    assert [f"stg_{entity}" for entity in job.entities] == sorted(ENTITIES)
    assert job.upstream_task_ids >= {f"bronze.{entity}" for entity in job.entities}


def test_run_without_news_is_published(hourly: DAG) -> None:
    """Tasks of bronze may be skipped; so is the Spark job without news, and with it everything up to the audit."""
    for task_id in ("entities.spark", "audit"):
        assert hourly.get_task(task_id).trigger_rule == "none_failed"
    for task in hourly.tasks:
        if task.task_id == "entities.test" or task.task_id.partition(".")[0] in {"silver", "gold"}:
            assert task.trigger_rule == "all_success"


def test_layers_follow_one_another(hourly: DAG) -> None:
    order = [
        *(f"bronze.{name}" for name in LAYERS["bronze"]),
        "entities.test",
        *(f"silver.{name}" for name in LAYERS["silver"]),
        *(f"gold.{name}" for name in LAYERS["gold"]),
        "audit",
        *(f"stage.{name}" for name in LAYERS["gold"]),
        "publish",
        "end",
    ]
    groups = [task_id.partition(".")[0] for task_id in order]
    for position, task_id in enumerate(order):
        last_of_its_group = len(groups) - groups[::-1].index(groups[position])
        later = set(order[last_of_its_group:])
        assert after(hourly, task_id) >= later, task_id


def test_each_gold_table_is_staged_by_trino(hourly: DAG) -> None:
    assert label(hourly, "stage") == LAYERS["gold"]
    for name in LAYERS["gold"]:
        task = hourly.get_task(f"stage.{name}")
        assert isinstance(task, SQLExecuteQueryOperator) and task.conn_id == "medallion_trino"


def test_lease_is_given_back_after_everything_that_writes(hourly: DAG) -> None:
    begin, end = hourly.get_task("begin"), hourly.get_task("end")
    assert begin.is_setup and end.is_teardown
    writing = set(hourly.task_ids) - {"begin", "freshness", "end"}
    assert end.upstream_task_ids >= writing
    assert after(hourly, "begin") == writing | {"freshness", "end"}


def test_old_source_holds_nothing_back(hourly: DAG) -> None:
    freshness = hourly.get_task("freshness")
    assert freshness.downstream_task_ids == set()
    assert freshness.is_teardown and not freshness.on_failure_fail_dagrun


@pytest.mark.parametrize(
    ("said", "error"),
    [
        # What Cosmos makes of dbt's result for a stale source, and for a database that is away.
        ("orders: None", AirflowFailException),
        ("orders: Database Error in source orders\n  Connection refused", CosmosDbtRunError),
    ],
)
def test_old_source_fails_at_once_and_an_engine_is_waited_for(
    hourly: DAG, monkeypatch: pytest.MonkeyPatch, said: str, error: type[Exception]
) -> None:
    def build_and_run_cmd(*_: object, **__: object) -> None:
        raise CosmosDbtRunError(f"dbt invocation completed with errors: {said}")

    monkeypatch.setattr(DbtSourceLocalOperator, "build_and_run_cmd", build_and_run_cmd)
    with pytest.raises(error, match="orders"):
        hourly.get_task("freshness").execute({})


def test_killed_task_cancels_its_statements(hourly: DAG) -> None:
    for task in hourly.tasks:
        if task.task_id.partition(".")[0] in {"freshness", "bronze", "silver", "gold", "stage"}:
            assert "cancel_on_kill" in task.on_kill.__qualname__, task.task_id


def test_tables_are_assets(hourly: DAG) -> None:
    outlets = {asset.name for task in hourly.tasks for asset in task.outlets}
    tables = {f"lake.{layer}.{name}" for layer, models in LAYERS.items() for name in models}
    assert outlets == tables | {f"lake.silver.{name}" for name in ENTITIES} | {"gold"}
