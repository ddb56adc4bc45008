"""The engine of each task, and the values that its templates and its hook pass to that engine."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException
from cosmos.operators.local import AbstractDbtLocalBase

from medallion import names
from medallion.engines.leftovers import TAG
from medallion.names import Group, Role, group_of, place_of, task_id
from medallion.project.manifest import MANIFESTS, entities
from medallion.run.state import RunState
from medallion.settings import settings
from medallion.tasks import hooks, spark

from .project import ENTITY_TABLES, INCLUDE, LAYERS, MODELS
from .runs import AUDITED, MEASURED, STATE, render, start

ENGINES = {
    names.FRESHNESS: "trino",
    Group.BRONZE: "trino",
    Group.SILVER_STAGING: "trino",
    Group.SILVER_MARTS: "spark",
    Group.GOLD: "trino",
}


def engine_of(task: Any) -> str:
    """Return the engine that a dbt task should use. Test tasks always use Trino."""
    return "trino" if place_of(task.task_id).role is Role.TEST else ENGINES[group_of(task.task_id)]


@pytest.fixture
def dbt_tasks(dag_bag: DagBag) -> list[tuple[DAG, Any]]:
    """All tasks that run dbt, each with its DAG."""
    return [
        (dag, task)
        for dag in dag_bag.dags.values()
        for task in dag.tasks
        if isinstance(task, AbstractDbtLocalBase)
    ]


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the tasks that have claimed their run. Each claim returns `STATE`."""
    tasks: list[str] = []

    def claim_run(ti: Any, allow_deletes: bool) -> RunState:
        tasks.append(ti.task_id)
        return STATE

    monkeypatch.setattr(hooks, "claim_run", claim_run)
    monkeypatch.setattr(hooks, "limit_time", lambda context: None)
    monkeypatch.setattr(hooks, "end_earlier_attempt", lambda context: None)
    return tasks


def test_each_layer_has_its_engine(dbt_tasks: list[tuple[DAG, Any]]) -> None:
    for _, task in dbt_tasks:
        assert task.profile_config.target_name == engine_of(task), task.task_id


def test_dbt_gets_the_address_of_the_connection(dbt_tasks: list[tuple[DAG, Any]]) -> None:
    timeout = f"{settings().task_timeout.total_seconds():.0f}s"
    addresses = {
        "trino": {
            "TRINO_HOST": "trino.example", "TRINO_PORT": "8080", "TRINO_USER": "etl", "TRINO_MAX_RUN_TIME": timeout
        },
        "spark": {"THRIFT_HOST": "thrift.example", "THRIFT_PORT": "10000"},
    }  # fmt: skip
    for dag, task in dbt_tasks:
        env = {name: str(value) for name, value in render(dag, task.task_id).env.items()}
        env.pop("MEDALLION_TESTED", None)  # only tests have it
        tag = TAG.format(dag_id=dag.dag_id, task_id=task.task_id)
        assert env == addresses[engine_of(task)] | {"MEDALLION_TAG": tag}, task.task_id


def test_dbt_gets_the_run_only_by_its_hook(dbt_tasks: list[tuple[DAG, Any]], claims: list[str]) -> None:
    for dag, task in dbt_tasks:
        rendered = render(dag, task.task_id)
        assert hooks.RUN_VARIABLE not in rendered.env, task.task_id
        if task.task_id == names.FRESHNESS:
            continue  # it needs no lease, because it writes nothing
        start(rendered)
        assert rendered.env[hooks.RUN_VARIABLE] == STATE.json(), task.task_id
        assert claims.pop() == task.task_id


@pytest.mark.parametrize("engine", ["trino", "spark"])
def test_new_run_makes_dbt_parse_nothing_again(engine: str) -> None:
    """dbt parses a file again if an environment variable that the file reads has changed since the last parse.

    So no file may read a variable that differs between runs. The name of the catalog is the same in all runs.
    """
    parsed = msgpack.unpackb((MANIFESTS / engine / "partial_parse.msgpack").read_bytes())
    assert parsed["env_vars"].keys() <= {"MEDALLION_SOURCE_CATALOG"}


def test_entities_are_submitted_through_their_connection(hourly: DAG) -> None:
    job: Any = hourly.get_task(names.BUILD_ENTITIES)
    assert job._conn_id == "medallion_spark"
    assert Path(job.application) == INCLUDE / "spark_jobs" / "build_entities.py"
    assert Path(job.application).exists()
    assert job.max_active_tis_per_dag == 1


def test_spark_gets_the_run_and_the_entities_with_new_rows(
    hourly: DAG, claims: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spark, "tables_with_new_rows", lambda run, declared: ["one", "two"])
    declared = {
        name: SimpleNamespace(json=lambda name=name: f'{{"name": "{name}"}}') for name in ("one", "two")
    }
    monkeypatch.setattr(spark, "declarations", lambda: declared)
    task = render(hourly, names.BUILD_ENTITIES)
    start(task)
    assert task.application_args == [
        "--run", STATE.json(), "--entity", '{"name": "one"}', "--entity", '{"name": "two"}'
    ]  # fmt: skip
    assert task.name == TAG.format(dag_id=hourly.dag_id, task_id=names.BUILD_ENTITIES)


def test_spark_starts_only_for_new_rows(
    hourly: DAG, claims: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = []
    monkeypatch.setattr(spark, "tables_with_new_rows", lambda run, declared: candidates.extend(declared))
    with pytest.raises(AirflowSkipException, match="no new rows"):
        start(render(hourly, names.BUILD_ENTITIES))
    assert claims == [names.BUILD_ENTITIES]
    assert candidates == entities()
    assert [names.staging_table(name) for name in candidates] == ENTITY_TABLES


@pytest.mark.parametrize(
    ("built", "selected", "tested"),
    [(["stg_one", "stg_two"], "stg_one stg_two", "stg_one stg_two"), (None, "tag:entity", "")],
)
def test_entities_that_were_built_are_tested(
    hourly: DAG, built: list[str] | None, selected: str, tested: str
) -> None:
    """If somebody marked the Spark job as done, it has no result (None), and all entities are tested."""
    task = render(hourly, names.TEST_ENTITIES, xcoms={names.BUILD_ENTITIES: built})
    assert task.select == f"path:tests/medallion {selected}"
    assert task.env["MEDALLION_TESTED"] == tested


def test_spark_gets_the_tables_to_compact(maintenance: DAG, claims: list[str]) -> None:
    measured = [*MEASURED, {"name": "gold.other", "sorted_by": [], "sort": False, "compact": False}]
    task = render(maintenance, names.COMPACT)
    start(task, xcoms={names.MEASURE: measured})
    assert task.application_args[:2] == ["--run", STATE.json()]
    assert json.loads(task.application_args[task.application_args.index("--tables") + 1]) == MEASURED
    assert task.name == TAG.format(dag_id=maintenance.dag_id, task_id=names.COMPACT)
    assert Path(task.application) == INCLUDE / "spark_jobs" / "compact_tables.py"
    assert Path(task.application).exists()
    assert task.max_active_tis_per_dag == 1


def contract_of(table: str) -> list[str]:
    """Return the columns of a gold table in the order of its YAML, without `_batch`."""
    for path in (MODELS / "gold").rglob("*.yml"):
        for model in yaml.safe_load(path.read_text()).get("models", []):
            if model["name"] == table:
                return [column["name"] for column in model["columns"] if column["name"] != "_batch"]
    raise AssertionError(f"no YAML in models/gold describes {table}")


def staging_statements(hourly: DAG, table: str, **audited: Any) -> tuple[str, str]:
    """Return the two statements that stage a gold table: drop and create."""
    task = render(hourly, task_id(Group.STAGE, table), xcoms={Group.AUDIT: AUDITED | audited})
    drop, create = task.sql
    return " ".join(drop.split()), create.strip()


@pytest.mark.parametrize("table", LAYERS[Group.GOLD])
def test_staging_has_the_columns_of_the_contract_in_their_order(hourly: DAG, table: str) -> None:
    name = names.lake_table(names.GOLD, table)
    _, create = staging_statements(hourly, table, snapshots={name: 43}, base_snapshots={name: 42})
    columns = create.split("changed as (")[1].split("select ")[1].split("from gold")[0].split(",")
    contract = [f'"{column}"' for column in contract_of(table)]
    assert [column.strip() for column in columns] == [*contract, "false as _deleted"]


@pytest.mark.parametrize("table", LAYERS[Group.GOLD])
def test_staging_takes_the_difference_to_what_was_published(hourly: DAG, table: str) -> None:
    name = names.lake_table(names.GOLD, table)
    drop, create = staging_statements(hourly, table, snapshots={name: 43}, base_snapshots={name: 42})
    tag = TAG.format(dag_id=hourly.dag_id, task_id=task_id(Group.STAGE, table))
    assert drop == f'/* {tag} */ drop table if exists postgres_gold.staging."{table}_7_2"'
    assert create.startswith(f"/* {tag} */")
    assert f'create table postgres_gold.staging."{table}_7_2" as' in create
    assert f'lake.gold."{table}" for version as of 43' in create
    assert f'lake.gold."{table}" for version as of 42 as published' in create
    assert "where _batch > 5" in create
    assert "_batch," not in create


@pytest.mark.parametrize("table", LAYERS[Group.GOLD])
def test_first_staging_takes_the_audited_table_whole(hourly: DAG, table: str) -> None:
    name = names.lake_table(names.GOLD, table)
    drop, create = staging_statements(hourly, table, staging="1_1", snapshots={name: 43})
    assert drop.endswith(f'drop table if exists postgres_gold.staging."{table}_1_1"')
    assert f'lake.gold."{table}" for version as of 43' in create
    assert create.count("version as of") == 1
    assert "where _batch" not in create
