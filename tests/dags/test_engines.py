"""Which engine each task asks, and what its templates tell that engine."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest
import yaml
from airflow.sdk import DAG
from jinja2 import StrictUndefined

from medallion.project.manifest import MANIFESTS
from medallion.run.state import RunState

INCLUDE = Path(__file__).parents[2] / "include"
ENGINE = {
    "bronze": "trino",
    "silver": "spark",
    "gold": "trino",
    "entities.test": "trino",
    "freshness": "trino",
}
GOLD = sorted(path.stem for path in (INCLUDE / "dbt" / "models" / "gold").glob("*.sql"))
STATE = RunState(
    kind="scheduled", batch=7, published_batch=5, publication=6,
    extract_from="2018-05-01 10:45:00.000000", extract_to="2018-05-01 12:00:00.000000",
    chunk_rows=1000, snapshots={"gold.sales_by_day": 42}, rebuild="none", compare_whole="none",
    tested_rows="changed", max_deleted_share=1, max_deleted_from=1,
)  # fmt: skip


def contract(table: str) -> list[str]:
    """The columns of a gold table's YAML, in its order, without the bookkeeping."""
    text = (INCLUDE / "dbt" / "models" / "gold" / f"{table}.yml").read_text()
    [model] = yaml.safe_load(text)["models"]
    return [column["name"] for column in model["columns"] if column["name"] != "_batch"]


def rendered(
    dag: DAG, task_id: str, state: RunState = STATE, audited: Any = None, made: Any = None, **params: Any
) -> Any:
    """A task with its templates rendered; a variable that nobody gives is an error.

    What the run's state was asked with is left in its `asked`.
    """
    asked: dict[str, Any] = {}
    task: Any = dag.get_task(task_id).prepare_for_execution()
    engines = {
        f"medallion_{name}": SimpleNamespace(host=f"{name}.example", port=port, login="etl")
        for name, port in (("trino", 8080), ("thrift", 10000))
    }
    environment = dag.get_template_env()
    environment.undefined = StrictUndefined
    xcoms = {"audit": audited, "entities.spark": made}
    variables = {
        "ti": SimpleNamespace(dag_id=dag.dag_id, task_id=task_id, xcom_pull=lambda task_ids: xcoms[task_ids]),
        "params": {**task.params, **params},
        "conn": SimpleNamespace(**engines),
        "run_state": lambda *_, **options: asked.update(options) or state,
    }
    task.render_template_fields(variables, environment)
    task.asked = asked
    return task


def dbt_tasks(dag: DAG) -> dict[str, str]:
    """dbt task -> the engine that it should ask."""
    return {
        task_id: engine
        for task_id in dag.task_ids
        for prefix, engine in ENGINE.items()
        if task_id == prefix or task_id.startswith(f"{prefix}.")
    }


def test_each_layer_asks_its_engine(hourly: DAG) -> None:
    tasks = dbt_tasks(hourly)
    assert len(tasks) > 20
    for task_id, engine in tasks.items():
        assert hourly.get_task(task_id).profile_config.target_name == engine, task_id  # type: ignore[attr-defined]


def test_entities_are_submitted_through_their_connection(hourly: DAG) -> None:
    job: Any = hourly.get_task("entities.spark")
    assert job._conn_id == "medallion_spark"
    assert Path(job.application) == INCLUDE / "spark_jobs" / "silver.py" and Path(job.application).exists()
    assert job.max_active_tis_per_dag == 1


def test_dbt_is_told_the_engine_of_the_connection(hourly: DAG) -> None:
    for task_id, engine in dbt_tasks(hourly).items():
        told = rendered(hourly, task_id).env
        if engine == "trino":
            assert (told["TRINO_HOST"], str(told["TRINO_PORT"]), told["TRINO_USER"]) == (
                "trino.example",
                "8080",
                "etl",
            )
            assert told["TRINO_MAX_RUN_TIME"] == "3600s"
            assert "THRIFT_HOST" not in told
        else:
            assert (told["THRIFT_HOST"], str(told["THRIFT_PORT"])) == ("thrift.example", "10000")
            assert "TRINO_HOST" not in told


def test_dbt_is_told_the_run_as_json(hourly: DAG) -> None:
    for task_id in set(dbt_tasks(hourly)) - {"freshness"}:
        told = json.loads(rendered(hourly, task_id).env["MEDALLION_RUN"])
        assert told["extract_from"] == "2018-05-01 10:45:00.000000", task_id
        assert told["extract_to"] == "2018-05-01 12:00:00.000000", task_id
        assert (told["batch"], told["chunk_rows"], told["rebuild"]) == (7, 1000, "none"), task_id
        assert (told["published_batch"], told["snapshots"]) == (5, {"gold.sales_by_day": 42}), task_id


def test_statements_of_dbt_are_tagged_with_their_task(hourly: DAG) -> None:
    for task_id in dbt_tasks(hourly):
        assert rendered(hourly, task_id).env["MEDALLION_TAG"] == f"medallion medallion_hourly.{task_id}"


@pytest.mark.parametrize("engine", ["trino", "spark"])
def test_new_run_has_dbt_parse_nothing_again(engine: str) -> None:
    """dbt parses a file again if a variable that it read while parsing it has changed; catalogs do not change."""
    parsed = msgpack.unpackb((MANIFESTS / engine / "partial_parse.msgpack").read_bytes())
    assert parsed["env_vars"].keys() <= {"MEDALLION_SOURCE_CATALOG"}


def test_run_without_a_window_is_told_as_null(hourly: DAG) -> None:
    state = replace(STATE, extract_from=None, extract_to=None, rebuild="silver", compare_whole="silver")
    told = json.loads(rendered(hourly, "bronze.orders", state).env["MEDALLION_RUN"])
    assert (told["extract_from"], told["extract_to"]) == (None, None)
    assert (told["rebuild"], told["compare_whole"]) == ("silver", "silver")


def test_deletes_are_allowed_by_the_parameter_of_a_reconciliation_alone(hourly: DAG, reconcile: DAG) -> None:
    for allowed in (False, True):
        assert rendered(reconcile, "bronze.orders", allow_deletes=allowed).asked == {"allow_deletes": allowed}
    assert rendered(hourly, "bronze.orders").asked == {"allow_deletes": False}


def test_age_of_the_source_asks_for_no_lease(hourly: DAG) -> None:
    """It belongs to no layer: it must not wait for another run that writes, nor be one."""
    assert "MEDALLION_RUN" not in rendered(hourly, "freshness").env


def test_spark_is_told_the_run_by_arguments(hourly: DAG) -> None:
    task = rendered(hourly, "entities.spark", replace(STATE, rebuild="silver"))
    assert dict(zip(task.application_args[::2], task.application_args[1::2], strict=True)) == {
        "--entities": ",".join(task.entities),
        "--batch": "7",
        "--published-batch": "5",
        "--rebuild": "silver",
    }
    assert task.name == "medallion medallion_hourly.entities.spark"


@pytest.mark.parametrize(
    ("made", "tested"), [(["stg_orders", "stg_sellers"], "stg_orders stg_sellers"), (None, "tag:entity")]
)
def test_entities_that_were_made_are_tested(hourly: DAG, made: list[str] | None, tested: str) -> None:
    """All of them where somebody marked the job as done."""
    assert rendered(hourly, "entities.test", made=made).select == tested


@pytest.mark.parametrize("table", GOLD)
def test_staging_has_the_columns_of_the_contract_in_their_order(hourly: DAG, table: str) -> None:
    name = f"gold.{table}"
    audited = {
        "staging": "7_2",
        "snapshots": {name: 43},
        "columns": {},
        "base_batch": 5,
        "base_snapshots": {name: 42},
    }
    _, create = rendered(hourly, f"stage.{table}", audited=audited).sql
    columns = create.split("changed as (")[1].split("select ")[1].split("from gold")[0].split(",")
    assert [column.strip() for column in columns] == [*contract(table), "false as _deleted"]


def test_staging_takes_the_difference_to_what_was_published(hourly: DAG) -> None:
    audited = {
        "staging": "7_2",
        "snapshots": {"gold.sales_by_day": 43},
        "columns": {},
        "base_batch": 5,
        "base_snapshots": {"gold.sales_by_day": 42},
    }
    drop, create = rendered(hourly, "stage.sales_by_day", audited=audited).sql
    assert " ".join(drop.split()) == (
        "/* medallion medallion_hourly.stage.sales_by_day */"
        " drop table if exists postgres_gold.staging.sales_by_day_7_2"
    )
    assert create.lstrip().startswith("/* medallion medallion_hourly.stage.sales_by_day */")
    assert "create table postgres_gold.staging.sales_by_day_7_2 as" in create
    assert "lake.gold.sales_by_day for version as of 43" in create
    assert "lake.gold.sales_by_day for version as of 42 as published" in create
    assert "where _batch > 5" in create
    assert "_batch," not in create


@pytest.mark.parametrize("table", GOLD)
def test_first_staging_takes_the_audited_table_whole(hourly: DAG, table: str) -> None:
    audited = {
        "staging": "1_1",
        "snapshots": {f"gold.{table}": 43},
        "columns": {},
        "base_batch": 0,
        "base_snapshots": {},
    }
    drop, create = rendered(hourly, f"stage.{table}", audited=audited).sql
    assert drop.rstrip().endswith(f"drop table if exists postgres_gold.staging.{table}_1_1")
    assert f"lake.gold.{table} for version as of 43" in create
    assert create.count("version as of") == 1
    assert "where _batch" not in create
