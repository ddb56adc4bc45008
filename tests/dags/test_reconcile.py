"""The graph of medallion_reconcile, and what its tasks run."""

from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from medallion.run.window import RunKind

MODELS = Path(__file__).parents[2] / "include" / "dbt" / "models"
BRONZE = {f"bronze.{path.stem}" for path in (MODELS / "bronze").glob("*.sql")}
TESTS = {"tests.trino": "trino", "tests.spark": "spark"}


def test_one_task_per_table_beside_the_tests_within_the_lease(reconcile: DAG) -> None:
    assert len(BRONZE) >= 9
    assert set(reconcile.task_ids) == {"begin", *BRONZE, *TESTS, "end"}
    begin, end = reconcile.get_task("begin"), reconcile.get_task("end")
    assert begin.is_setup and end.is_teardown
    for task_id in (*BRONZE, *TESTS):
        task: Any = reconcile.get_task(task_id)
        assert (task.upstream_task_ids, task.downstream_task_ids) == ({"begin"}, {"end"}), task_id
        assert task.max_active_tis_per_dag == 1
        assert "cancel_on_kill" in task.on_kill.__qualname__


def test_all_its_runs_reconcile(reconcile: DAG) -> None:
    begin: Any = reconcile.get_task("begin")
    assert begin.kind is RunKind.RECONCILE


def test_tests_of_a_layer_run_on_the_engine_that_made_it(reconcile: DAG) -> None:
    for task_id, engine in TESTS.items():
        task: Any = reconcile.get_task(task_id)
        assert task.profile_config.target_name == engine
        assert "unit_test" in task.dbt_cmd_flags
    trino: Any = reconcile.get_task("tests.trino")
    spark: Any = reconcile.get_task("tests.spark")
    assert trino.exclude == "path:models/bronze path:models/silver/marts"
    assert spark.select == "path:models/silver/marts"


def test_tables_are_assets(reconcile: DAG) -> None:
    outlets = {asset.name for task in reconcile.tasks for asset in task.outlets}
    assert outlets == {f"lake.{task_id}" for task_id in BRONZE}


def test_daily_and_its_only_parameter(reconcile: DAG) -> None:
    timetable: Any = reconcile.timetable
    assert timetable.expression == "30 3 * * *"
    assert {name: reconcile.params[name] for name in reconcile.params} == {"allow_deletes": False}
