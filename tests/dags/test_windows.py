"""What each kind of run extracts, from Airflow's own data intervals to the arguments of the engines."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
from airflow.sdk import DAG
from airflow.utils.types import DagRunType
from jinja2 import DebugUndefined

from medallion.begin import data_interval, requested, tasks_to_skip
from medallion.run_state import RunState
from medallion.window import RunKind, Window, WindowError, resolve_window

NOON = datetime(2018, 5, 1, 12, tzinfo=UTC)
NOW = datetime(2018, 5, 1, 12, 3, tzinfo=UTC)


def hour(number: int) -> datetime:
    return NOON.replace(hour=number)


def context(run_type: str, interval: tuple[datetime, datetime] | None = None, **params: Any) -> Any:
    start, end = interval or (None, None)
    run = SimpleNamespace(run_type=DagRunType(run_type), data_interval_start=start, data_interval_end=end)
    return {"params": {"window_start": None, "window_end": None, "rebuild": "none", **params}, "dag_run": run}


def window(run: Any, covered_to: datetime) -> Window | None:
    kind, asked = requested(run)
    return resolve_window(kind, asked, data_interval(run), covered_to, NOW)


@pytest.fixture
def last_interval(hourly: DAG) -> tuple[datetime, datetime]:
    """The data interval that the DAG's timetable gives the run of 12:00."""
    from airflow.serialization.serialized_objects import DagSerialization

    timetable = DagSerialization.from_dict(DagSerialization.to_dict(hourly)).timetable
    interval = timetable.infer_manual_data_interval(run_after=pendulum.instance(NOW))
    return interval.start, interval.end


def test_scheduled_run_covers_the_last_hour(last_interval: tuple[datetime, datetime]) -> None:
    assert last_interval == (hour(11), hour(12))
    assert window(context("scheduled", last_interval), hour(11)) == Window(hour(11), hour(12))


def test_scheduled_run_heals_an_outage(last_interval: tuple[datetime, datetime]) -> None:
    assert window(context("scheduled", last_interval), hour(3)) == Window(hour(3), hour(12))


def test_backfill_run_covers_its_hour_alone() -> None:
    assert window(context("backfill", (hour(1), hour(2))), hour(11)) == Window(hour(1), hour(2))


def test_manual_run_goes_on_to_now() -> None:
    assert window(context("manual"), hour(9)) == Window(hour(9), NOW)


def test_ranged_run_covers_its_range_whatever_the_watermark() -> None:
    run = context("manual", window_start="2018-01-01", window_end="2018-02-01T00:00:00-03:00")
    expected = Window(datetime(2018, 1, 1, tzinfo=UTC), datetime(2018, 2, 1, 3, tzinfo=UTC))
    assert window(run, hour(11)) == expected


def test_range_ends_at_the_clock_of_the_source() -> None:
    run = context("manual", window_start="2018-05-01", window_end="2019-01-01")
    assert window(run, hour(11)) == Window(NOON.replace(hour=0), NOW)


def test_rebuild_extracts_nothing() -> None:
    assert window(context("manual", rebuild="gold"), hour(11)) is None


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"window_start": "2018-01-01"}, "window_end is missing"),
        ({"window_end": "2018-01-01"}, "window_start is missing"),
        ({"window_start": "2018-01-02", "window_end": "2018-01-01"}, "is not before"),
        ({"window_start": "2018-01-01", "window_end": "2018-01-01"}, "is not before"),
        ({"window_start": "yesterday", "window_end": "2018-01-01"}, "window_start = 'yesterday'"),
    ],
)
def test_senseless_window_is_refused_with_its_reason(params: dict[str, str], message: str) -> None:
    with pytest.raises(WindowError, match=message):
        requested(context("manual", **params))


def test_empty_data_interval_is_refused() -> None:
    with pytest.raises(WindowError, match="CronDataIntervalTimetable"):
        window(context("scheduled", (NOON, NOON)), NOON)


@pytest.mark.parametrize(
    ("up_to", "kept"),
    [
        ("bronze", {"bronze"}),
        ("silver", {"bronze", "entities", "silver"}),
        ("gold", {"bronze", "entities", "silver", "gold"}),
    ],
)
def test_run_up_to_a_layer_skips_the_rest(hourly: DAG, up_to: str, kept: set[str]) -> None:
    skipped = set(tasks_to_skip(hourly.task_ids, RunKind.MANUAL, up_to))
    ran = {task_id.partition(".")[0] for task_id in set(hourly.task_ids) - skipped}
    assert ran == kept | {"begin", "freshness", "end"}


def test_age_of_the_source_matters_to_runs_about_now(hourly: DAG) -> None:
    skipped = {kind: tasks_to_skip(hourly.task_ids, kind, "publish") for kind in RunKind}
    assert {kind for kind, tasks in skipped.items() if not tasks} == {RunKind.SCHEDULED, RunKind.MANUAL}
    assert skipped[RunKind.BACKFILL] == ["freshness"]


STATE = RunState(
    batch=7,
    published_batch=5,
    publication=6,
    extract_from="2018-05-01 10:45:00.000000",
    extract_to="2018-05-01 12:00:00.000000",
    chunk_rows=1000,
    snapshots={"gold.sales_by_day": 42},
    rebuild="none",
    compare_whole="none",
)
AUDITED = {
    "batch": 7,
    "snapshots": {"gold.sales_by_day": 43},
    "base_batch": 5,
    "columns": {},
    "base_snapshots": {"gold.sales_by_day": 42},
}


@pytest.fixture
def rendered(hourly: DAG) -> Any:
    """Render the templates of a task as a worker does, with the run's state given."""

    def render(task_id: str) -> Any:
        task: Any = hourly.get_task(task_id).prepare_for_execution()
        ti = SimpleNamespace(dag_id=hourly.dag_id, task_id=task_id, xcom_pull=lambda task_ids: AUDITED)
        connection = SimpleNamespace(host="engine", port=1, login="someone")
        names = ("medallion_trino", "medallion_thrift")
        environment = hourly.get_template_env()
        environment.undefined = DebugUndefined
        task.render_template_fields(
            {
                "ti": ti,
                "params": task.params,
                "conn": SimpleNamespace(**dict.fromkeys(names, connection)),
                "run_state": lambda *_, **options: STATE,
            },
            environment,
        )
        return task

    return render


def test_dbt_gets_batch_and_window_by_environment(rendered: Any) -> None:
    for task_id in ("bronze.orders", "silver.fact_sales", "gold.sales_by_day", "entities.test"):
        environment = rendered(task_id).env
        told = json.loads(environment["MEDALLION_RUN"])
        assert (told["batch"], told["published_batch"]) == (7, 5)
        assert (told["extract_from"], told["extract_to"]) == (STATE.extract_from, STATE.extract_to)
        assert told["snapshots"] == {"gold.sales_by_day": 42}
        assert environment["MEDALLION_TAG"] == f"medallion medallion_hourly.{task_id}"


def test_spark_gets_batch_by_arguments(rendered: Any) -> None:
    task = rendered("entities.orders")
    arguments = dict(zip(task.application_args[::2], task.application_args[1::2], strict=True))
    assert arguments == {
        "--entities": "order_items,order_payments,order_reviews,orders",
        "--batch": "7",
        "--published-batch": "5",
        "--rebuild": "none",
    }
    assert task.name == "medallion medallion_hourly.entities.orders"


def test_staging_reads_what_was_audited(rendered: Any) -> None:
    drop, create = rendered("stage.sales_by_day").sql
    assert " ".join(drop.split()) == (
        "/* medallion medallion_hourly.stage.sales_by_day */"
        " drop table if exists postgres_gold.staging.sales_by_day_7"
    )
    assert create.lstrip().startswith("/* medallion medallion_hourly.stage.sales_by_day */")
    assert "create table postgres_gold.staging.sales_by_day_7 as" in create
    assert "lake.gold.sales_by_day for version as of 43" in create
    assert "lake.gold.sales_by_day for version as of 42 as published" in create
    assert "where _batch > 5" in create
    assert "_batch," not in create
