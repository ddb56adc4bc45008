"""Names: task ids, and the layer and role of each task."""

import pytest
from airflow.dag_processing.dagbag import DagBag

from medallion.names import (
    ENGINES,
    GROUPS_UP_TO,
    HOURLY_DAG,
    MODELS,
    Group,
    Place,
    Role,
    group_of,
    is_gold,
    lake_table,
    model_of,
    place_of,
    staging_table,
    task_id,
)
from medallion.settings import PROJECT
from support.task_instance import HOURLY, MAINTENANCE, RECONCILE, ROLLBACK


@pytest.mark.parametrize(
    ("task", "group", "layer", "role"),
    [
        ("begin", "begin", None, Role.WATCH),
        ("freshness", "freshness", None, Role.WATCH),
        ("bronze.readings", "bronze", Group.BRONZE, Role.BUILD),
        ("silver_staging.spark", "silver_staging", Group.SILVER_STAGING, Role.BUILD),
        ("silver_staging.test", "silver_staging", Group.SILVER_STAGING, Role.TEST),
        ("silver_marts.fact_readings", "silver_marts", Group.SILVER_MARTS, Role.BUILD),
        ("silver_marts.test", "silver_marts", Group.SILVER_MARTS, Role.TEST),
        ("gold.readings_by_day", "gold", Group.GOLD, Role.BUILD),
        ("audit", "audit", None, Role.PUBLISH),
        ("stage.readings_by_day", "stage", None, Role.PUBLISH),
        ("publish", "publish", None, Role.PUBLISH),
        ("end", "end", None, Role.WATCH),
        ("tests.trino", "tests", None, Role.TEST),
        ("measure", "measure", None, Role.MAINTAIN),
        ("compact", "compact", None, Role.MAINTAIN),
        ("expire", "expire", None, Role.MAINTAIN),
        ("choose", "choose", None, Role.PUBLISH),
        ("restore", "restore", None, Role.PUBLISH),
    ],
)
def test_place_of_a_task(task: str, group: str, layer: Group | None, role: Role) -> None:
    assert group_of(task) == group
    assert place_of(task) == Place(layer, role)


def test_every_task_of_our_dags_has_a_place() -> None:
    for dag in (HOURLY, RECONCILE, MAINTENANCE, ROLLBACK):
        for task in dag.task_ids:
            place = place_of(task)
            assert place.layer is None or place.layer == group_of(task)


def test_groups_are_in_the_order_of_the_dag() -> None:
    bag = DagBag(PROJECT / "dags" / "medallion_hourly.py")
    assert bag.import_errors == {}
    dag = bag.dags[HOURLY_DAG]
    # Order the tasks by their number of upstream tasks, which is higher for later steps.
    in_order = sorted(dag.tasks, key=lambda task: len(task.get_flat_relative_ids(upstream=True)))
    groups = [group_of(task.task_id) for task in in_order]
    assert [group for group in dict.fromkeys(groups) if group in [*Group]] == [*Group]
    assert {*dag.task_ids} == {*HOURLY.task_ids}


def test_each_group_of_models_has_an_engine_and_a_selector() -> None:
    assert ENGINES.keys() == MODELS.keys() == {Group.BRONZE, Group.SILVER_MARTS, Group.GOLD}


def test_groups_up_to_a_layer_are_the_first_of_the_dag() -> None:
    for groups in GROUPS_UP_TO.values():
        assert groups == tuple(Group)[: len(groups)]
    assert [groups[-1] for groups in GROUPS_UP_TO.values()] == [
        Group.BRONZE, Group.SILVER_MARTS, Group.GOLD, Group.PUBLISH
    ]  # fmt: skip


def test_names_are_built_and_taken_apart() -> None:
    assert task_id(Group.GOLD, "readings_by_day") == "gold.readings_by_day"
    assert [model_of(task) for task in ("gold.readings_by_day", "audit")] == ["readings_by_day", "audit"]
    assert lake_table("silver", staging_table("readings")) == "silver.stg_readings"
    assert [is_gold(table) for table in ("gold.readings_by_day", "silver.gold", "golden.x")] == [
        True, False, False
    ]  # fmt: skip
