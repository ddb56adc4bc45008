"""The conf that a run is triggered with reaches no statement and no command, but as a declared param."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import jinja2.meta
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.sdk.definitions.param import process_params
from jinja2 import Environment, StrictUndefined, nodes

SQL = "x; drop table lake.bronze.orders; --"
# A value of the type that the templates expect, whose every part is the caller's SQL.
INJECTED = {"name": SQL, "key": [SQL], "contract": {SQL: SQL}, "columns": {SQL: SQL}, "staging": SQL}
AUDITED: dict[str, Any] = {
    "staging": "7_2", "snapshots": {}, "columns": {}, "base_batch": 5, "base_snapshots": {}
}  # fmt: skip
MEASURED = [{"name": "bronze.events", "sorted_by": [], "sort": False, "compact": True}]
XCOMS = {"audit": AUDITED, "choose": AUDITED, "measure": MEASURED}


def texts(value: Any) -> Iterator[str]:
    """Every text in a template field."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from texts(part)


def names_in(environment: Environment, text: str) -> set[str]:
    """Every name that a template uses, with those of the files that it includes."""
    tree = environment.parse(text)
    names = jinja2.meta.find_undeclared_variables(tree)
    names |= {node.name for node in tree.find_all(nodes.Name)}
    names |= {node.attr for node in tree.find_all(nodes.Getattr)}
    for file in jinja2.meta.find_referenced_templates(tree):
        assert file is not None and environment.loader is not None
        names |= names_in(environment, environment.loader.get_source(environment, file)[0])
    return names


def template_names(dag: DAG) -> set[str]:
    """Every name that the templates of a DAG's tasks use."""
    environment = dag.get_template_env()
    return {
        name
        for task in dag.tasks
        for field in task.template_fields
        for text in texts(getattr(task, field, None))
        for name in names_in(environment, text)
    }


def render(dag: DAG, task_id: str, conf: dict[str, Any]) -> dict[str, str]:
    """The template fields of a task as a run with this conf has them."""
    task: Any = dag.get_task(task_id).prepare_for_execution()
    connection = SimpleNamespace(host="engine.example", port=1, login="etl")
    environment = dag.get_template_env()
    environment.undefined = StrictUndefined
    state = SimpleNamespace(batch=7, published_batch=5, rebuild="none", json=lambda: "{}")
    variables = {
        "ti": SimpleNamespace(dag_id=dag.dag_id, task_id=task_id, xcom_pull=lambda task_ids, **_: XCOMS.get(task_ids)),
        "params": process_params(task.dag, task, conf, suppress_exception=False),
        "conn": SimpleNamespace(medallion_trino=connection, medallion_thrift=connection),
        "dag_run": SimpleNamespace(conf=conf),
        "run_state": lambda *_, **options: state,
    }  # fmt: skip
    task.render_template_fields(variables, environment)
    return {field: repr(getattr(task, field, None)) for field in task.template_fields}


def dags() -> list[str]:
    return ["medallion_hourly", "medallion_reconcile", "medallion_rollback", "medallion_maintenance"]


@pytest.mark.parametrize("dag_id", dags())
def test_conf_changes_nothing_that_an_engine_is_sent(dag_bag: DagBag, dag_id: str) -> None:
    dag = dag_bag.dags[dag_id]
    conf = {name: INJECTED for name in template_names(dag) - set(dag.params)}
    assert {"ti", "tag"} <= conf.keys()
    for task_id in dag.task_ids:
        assert render(dag, task_id, conf) == render(dag, task_id, {}), task_id


@pytest.mark.parametrize("dag_id", dags())
def test_declared_params_take_no_sql(dag_bag: DagBag, dag_id: str) -> None:
    """All but a window's start and end are checked by Airflow itself; `window_from_params` checks those."""
    dag = dag_bag.dags[dag_id]
    for name in set(dag.params) - {"window_start", "window_end"}:
        with pytest.raises(ValueError, match=name):
            process_params(dag, dag.tasks[0], {name: SQL}, suppress_exception=False)  # type: ignore[arg-type]
