"""The conf of a triggered run cannot change statements or commands, except through the DAG's declared params."""

from collections.abc import Iterator
from typing import Any

import jinja2.meta
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.sdk.definitions.param import process_params
from jinja2 import Environment, nodes

from medallion import names
from medallion.project.contracts import GoldTable
from medallion.tasks.stage import STATEMENTS, staging_statement

from .runs import render

SQL = "x; drop table lake.bronze.some; --"
# A value with the fields that templates read. Each field contains the caller's SQL.
INJECTED = {"name": SQL, "key": [SQL], "contract": {SQL: SQL}, "columns": {SQL: SQL}, "staging": SQL}
DAG_IDS = (names.HOURLY_DAG, names.RECONCILE_DAG, names.ROLLBACK_DAG, names.MAINTENANCE_DAG)


def texts(value: Any) -> Iterator[str]:
    """Yield every string in the value of a template field, also in nested lists and dictionaries."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from texts(part)


def names_in(environment: Environment, text: str) -> set[str]:
    """Return every name that a template and the files that it includes use."""
    tree = environment.parse(text)
    used = jinja2.meta.find_undeclared_variables(tree)
    used |= {node.name for node in tree.find_all(nodes.Name)}
    used |= {node.attr for node in tree.find_all(nodes.Getattr)}
    for file in jinja2.meta.find_referenced_templates(tree):
        assert file is not None and environment.loader is not None
        used |= names_in(environment, environment.loader.get_source(environment, file)[0])
    return used


def template_names(dag: DAG) -> set[str]:
    """Return every name that the templates of a DAG's tasks use."""
    environment = dag.get_template_env()
    return {
        name
        for task in dag.tasks
        for field in task.template_fields
        for text in texts(getattr(task, field, None))
        for name in names_in(environment, text)
    }


def rendered_fields(dag: DAG, task_id: str, conf: dict[str, Any]) -> dict[str, str]:
    """Return the rendered template fields of a task in a run that is triggered with `conf`."""
    task = render(dag, task_id, conf=conf)
    return {field: repr(getattr(task, field, None)) for field in task.template_fields}


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_conf_changes_nothing_that_an_engine_is_sent(dag_bag: DagBag, dag_id: str) -> None:
    dag = dag_bag.dags[dag_id]
    conf = {name: INJECTED for name in template_names(dag) - set(dag.params)}
    for task_id in dag.task_ids:
        assert rendered_fields(dag, task_id, conf) == rendered_fields(dag, task_id, {}), task_id


def test_names_of_templates_are_found_in_included_files(hourly: DAG) -> None:
    table = GoldTable(name="some", key=["day"], contract={"day": "date"})
    statements = [staging_statement(file, table, audited_by=names.Group.AUDIT) for file in STATEMENTS]
    used = {name for text in statements for name in names_in(hourly.get_template_env(), text)}
    assert {"ti", "tag", "table", "contract", "audited", "staging", "catalogs"} <= used
    assert {"ti", "tag", "conn"} <= template_names(hourly)


@pytest.mark.parametrize("dag_id", DAG_IDS)
def test_declared_params_take_no_sql(dag_bag: DagBag, dag_id: str) -> None:
    """Airflow rejects the SQL in every param but a window's start and end, which `window_from_params` checks."""
    dag = dag_bag.dags[dag_id]
    for name in set(dag.params) - {"window_start", "window_end"}:
        with pytest.raises(ValueError, match=name):
            process_params(dag, dag.tasks[0], {name: SQL}, suppress_exception=False)  # type: ignore[arg-type]
