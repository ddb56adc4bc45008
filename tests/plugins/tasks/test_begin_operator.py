"""The first task as a whole, between a real shop and a real gold database."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowNotFoundException,
    DownstreamTasksSkipped,
    TaskDeferred,
)
from airflow.utils.types import DagRunType
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from medallion.engines.postgres import transaction
from medallion.project.manifest import model_columns
from medallion.publish.publish import bronze_covers_window
from medallion.run.attempts import last_attempts
from medallion.run.lease import try_lease
from medallion.run.source import SourceContractError, check_source
from medallion.settings import settings
from medallion.tasks.begin import BeginRunOperator
from sample.__main__ import main as sample
from support.postgres import query
from support.task_instance import Task

from ..conftest import Query

SCHEMA = Path(__file__).parents[3] / "sample" / "schema.sql"
TASKS = ("begin", "freshness", "bronze.readings", "silver_staging.spark", "silver.fact_readings", "gold.readings_by_day",
         "audit", "stage.readings_by_day", "publish", "end")  # fmt: skip

Begin = Callable[..., dict[str, Any]]


@pytest.fixture
def shop(source_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The reference shop with one order; called with a statement it runs it."""
    query(source_url, SCHEMA.read_text())
    query(source_url, "insert into sales.orders (order_id, updated_at) values ('o', '2018-01-03T10:00Z')")
    for name in ("TRINO", "THRIFT", "SPARK"):
        monkeypatch.setenv(f"AIRFLOW_CONN_MEDALLION_{name}", '{"conn_type": "generic"}')
    return lambda statement: query(source_url, statement)


@pytest.fixture
def begin(gold: Query, shop: Any, catalog: SqlCatalog) -> Begin:
    """Begin a run with parameters; returns the XComs that it pushed."""

    def execute(
        run: str = "a",
        airflow: dict[str, str] | None = None,
        hour: datetime | None = None,
        try_number: int = 1,
        **params: Any,
    ) -> dict[str, Any]:
        """`hour`: where a scheduled run's interval begins; without it the run is manual."""
        with DAG("medallion_hourly", schedule=None) as dag:
            operator = BeginRunOperator(task_id="begin")
            for task_id in TASKS[1:]:
                BaseOperator(task_id=task_id)
        pushed: dict[str, Any] = {}

        class Instance(Task):
            task = SimpleNamespace(dag=dag)  # type: ignore[assignment]
            xcom_push = staticmethod(pushed.__setitem__)

        dag_run = SimpleNamespace(
            run_type=DagRunType("scheduled" if hour else "manual"),
            data_interval_start=hour,
            data_interval_end=hour and hour + timedelta(hours=1),
        )
        operator.execute(
            {
                "ti": Instance(run, try_number=try_number, airflow=airflow or {}, dag_file=__file__),
                "params": params,
                "dag_run": dag_run,
            }  # type: ignore[arg-type,typeddict-item]
        )
        return pushed

    return execute


def test_run_takes_the_lease_and_shows_its_window(gold: Query, begin: Begin) -> None:
    shown = begin()["window"]
    assert shown["window_start"] == "2018-01-03T10:00:00+00:00"
    assert gold("select lease_run_id, watermark from audit.pipeline") == [
        ("a", datetime(2018, 1, 3, 10, tzinfo=UTC))
    ]
    [(kind, start, end)] = gold("select kind, window_start, window_end from audit.runs where run_id = 'a'")
    assert (kind, start.isoformat(), end.isoformat()) == (
        "manual",
        shown["window_start"],
        shown["window_end"],
    )


def test_run_that_was_deleted_and_made_anew_writes_under_a_batch_of_its_own(
    gold: Query, begin: Begin
) -> None:
    begin()
    begin(try_number=2)
    assert gold("select lease_batch from audit.pipeline") == [(1,)]
    begin()
    assert gold("select lease_run_id, lease_batch from audit.pipeline") == [("a", 2)]


def test_run_waits_deferred_while_another_writes(
    gold: Query, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDALLION_LEASE_POLL", "PT7S")
    settings.cache_clear()
    try_lease(Task("other"))
    with pytest.raises(TaskDeferred) as deferred:
        begin(airflow={"other": "running"})
    assert isinstance(deferred.value.trigger, TimeDeltaTrigger)
    assert 0 < (deferred.value.trigger.moment - datetime.now(UTC)).total_seconds() <= 7
    assert deferred.value.method_name == "execute"
    assert gold("select lease_run_id from audit.pipeline") == [("other",)]
    assert gold("select * from audit.runs") == []


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"window_start": "2018-01-01"}, "window_end is missing"),
        ({"window_end": "2018-01-01"}, "window_start is missing"),
        ({"window_start": "2018-01-01", "window_end": "2018-01-01"}, "is not before"),
        ({"window_start": "yesterday", "window_end": "2018-01-01"}, "window_start = 'yesterday'"),
        ({"window_start": "2018-02-01", "window_end": "2018-01-01"}, "is not before"),
    ],
)
def test_senseless_window_fails_at_once_and_takes_nothing(
    gold: Query, begin: Begin, params: dict[str, str], message: str
) -> None:
    with pytest.raises(AirflowFailException, match=message):
        begin(**params)
    assert gold("select lease_run_id, last_batch from audit.pipeline") == [(None, 0)]


def test_lost_column_fails_at_once_and_takes_nothing(gold: Query, begin: Begin, shop: Any) -> None:
    shop("alter table sales.orders drop column order_status")
    with pytest.raises(AirflowFailException, match=r"no column sales\.orders\.order_status"):
        begin()
    assert gold("select lease_run_id, last_batch from audit.pipeline") == [(None, 0)]


def test_lost_table_is_named(shop: Any) -> None:
    shop("drop table sales.sellers")
    with pytest.raises(SourceContractError, match=r"The source has no table sales\.sellers, or its reader"):
        check_source()


def test_dropped_column_is_named_as_it_was_injected_and_no_other(
    shop: Any, source_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    manifest = tmp_path / "manifest.jsonl"
    monkeypatch.setenv("SOURCE_URL", source_url)
    arguments = ["--orders", "10", "--replace", "--anomalies", "dropped_column", "--manifest", str(manifest)]
    sample(["generate", *arguments], standalone_mode=False)
    with pytest.raises(SourceContractError) as stopped:
        check_source()
    injected = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [(row["entity"], row["column"]) for row in injected] == re.findall(
        r"column sales\.(\w+)\.(\w+)", str(stopped.value)
    )
    assert {row["outcome"] for row in injected} == {"stopped"}


def test_reference_shop_is_what_the_models_expect(shop: Any, caplog: pytest.LogCaptureFixture) -> None:
    check_source()
    shop("alter table sales.orders add column channel text")
    check_source()
    assert [record.args for record in caplog.records if "new column" in record.message] == [
        ("orders", "channel")
    ]


def test_missing_connection_is_asked_for_again(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow says the same while its api-server is down."""
    monkeypatch.delenv("AIRFLOW_CONN_MEDALLION_SPARK")
    with pytest.raises(AirflowNotFoundException, match="no connection medallion_spark"):
        begin()


def test_layers_that_nobody_asked_for_are_skipped(begin: Begin) -> None:
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        begin(up_to="silver")
    assert set(skipped.value.tasks) == {"gold.readings_by_day", "audit", "stage.readings_by_day", "publish"}


NOON = datetime(2018, 1, 3, 12, tzinfo=UTC)


def test_scheduled_run_ends_at_once_where_all_is_published(gold: Query, begin: Begin) -> None:
    gold("update audit.pipeline set watermark = %s, last_batch = 5, published_batch = 5", (NOON,))
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        begin(hour=NOON - timedelta(hours=1))
    assert set(skipped.value.tasks) == set(TASKS) - {"begin", "freshness", "end"}


@pytest.mark.parametrize(
    ("hour", "change", "try_number"),
    [
        (NOON, None, 1),  # It goes beyond what is covered.
        (NOON - timedelta(hours=1), None, 2),
        (NOON - timedelta(hours=1), "last_batch = 6", 1),  # A run, a reconciliation maybe, wrote after that.
        (NOON - timedelta(hours=1), "rebuild = 'gold'", 1),
    ],
    ids=["later", "tried before", "unpublished", "rebuild"],
)
def test_scheduled_run_with_something_to_do_does_it_all(
    gold: Query, begin: Begin, hour: datetime, change: str | None, try_number: int
) -> None:
    gold("update audit.pipeline set watermark = %s, last_batch = 5, published_batch = 5", (NOON,))
    if change:
        gold(f"update audit.pipeline set {change}")
    assert begin(hour=hour, try_number=try_number)["window"]


@pytest.fixture
def captured(gold: Query, catalog: SqlCatalog) -> Table:
    """bronze.readings, as a run published it whose batch was 5; its row is of 2018-01-03T10:00Z."""
    columns = [
        (name, pa.int64() if name == "_batch" else pa.string()) for name in model_columns()["bronze.readings"]
    ]
    table = catalog.create_table("bronze.readings", pa.schema(columns))
    table.append(pa.table({"_batch": [5]}))
    gold(
        "update audit.pipeline set last_batch = 5, published_batch = 5,"
        ' published_snapshots = \'{"bronze.readings": 1, "gold.readings_by_day": 2}\''
    )
    gold("insert into audit.data_pipeline_runs values"
         " ('before', 'orders', now(), now(), 'success', 1, 'medallion_hourly', 'bronze.readings', 1, 5)")  # fmt: skip
    return table


NO_ROW = {"window_start": "2018-01-03T10:16Z", "window_end": "2018-01-04T00:00Z"}
A_ROW = NO_ROW | {"window_start": "2018-01-03T10:15Z"}  # which the lookback finds


@pytest.mark.parametrize("params", [NO_ROW, {"rebuild": "silver"}], ids=["range", "rebuild"])
def test_table_without_a_row_in_the_window_is_skipped_and_counts_as_extracted(
    gold: Query, begin: Begin, captured: Table, params: dict[str, str]
) -> None:
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        begin(**params)
    assert set(skipped.value.tasks) == {"freshness", "bronze.readings"}
    noted = "select run_id, model_name, status, batch from audit.data_pipeline_runs where task_id = 'bronze.readings'"
    assert gold(f"{noted} order by batch") == [
        ("before", "orders", "success", 5), ("a", "orders", "skipped", 6)
    ]  # fmt: skip
    with transaction() as cursor:
        cursor.execute("select resolved_at from audit.runs")
        [window] = cursor.fetchall()
        asks = Task("a", task_ids=("bronze.readings",))
        assert bronze_covers_window(last_attempts(cursor, asks), asks, window.resolved_at)


def test_row_in_the_window_or_in_its_lookback_is_captured(begin: Begin, captured: Table) -> None:
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        begin(**A_ROW)
    assert list(skipped.value.tasks) == ["freshness"]


def never_published(gold: Query, table: Table) -> None:
    gold("update audit.pipeline set published_snapshots = '{}'")


def written_by_a_run_that_failed(gold: Query, table: Table) -> None:
    gold("update audit.data_pipeline_runs set batch = 6, status = 'failed'")


def written_by_nobody_knows_whom(gold: Query, table: Table) -> None:
    table.append(pa.table({"_batch": [6]}))


def without_a_column_that_is_modelled_now(gold: Query, table: Table) -> None:
    with table.update_schema() as update:
        update.delete_column("order_status")


def gone(gold: Query, table: Table) -> None:
    table.catalog.drop_table(table.name())


@pytest.mark.parametrize(
    "state",
    [
        never_published,
        written_by_a_run_that_failed,
        written_by_nobody_knows_whom,
        without_a_column_that_is_modelled_now,
        gone,
    ],
)
@pytest.mark.parametrize("params", [NO_ROW, {"rebuild": "silver"}], ids=["range", "rebuild"])
def test_table_that_its_task_has_to_look_at_is_not_skipped(
    gold: Query,
    begin: Begin,
    captured: Table,
    params: dict[str, str],
    state: Callable[[Query, Table], None],
) -> None:
    """It makes what is missing, and tests what was captured and never published."""
    state(gold, captured)
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        begin(**params)
    assert list(skipped.value.tasks) == ["freshness"]


def test_skip_is_noted_anew_where_the_run_is_cleared(gold: Query, begin: Begin, captured: Table) -> None:
    for try_number in (1, 2):
        with pytest.raises(DownstreamTasksSkipped):
            begin(try_number=try_number, **NO_ROW)
    assert gold(
        "select try_number, count(*) from audit.data_pipeline_runs where run_id = 'a' group by 1"
    ) == [(0, 1)]


def test_range_skips_the_age_of_the_source_and_keeps_its_bounds(gold: Query, begin: Begin) -> None:
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        begin(window_start="2018-01-01", window_end="2018-01-02")
    assert list(skipped.value.tasks) == ["freshness"]
    assert gold("select kind, window_start, window_end, extract_from from audit.runs") == [
        (
            "ranged",
            datetime(2018, 1, 1, tzinfo=UTC),
            datetime(2018, 1, 2, tzinfo=UTC),
            datetime(2017, 12, 31, 23, 45, tzinfo=UTC),
        )
    ]


def test_rebuild_is_kept_and_has_no_window(gold: Query, begin: Begin) -> None:
    with pytest.raises(DownstreamTasksSkipped):
        begin(rebuild="gold")
    assert gold("select rebuild, rebuild_batch from audit.pipeline") == [("gold", 1)]
    assert gold("select kind, window_start, extract_from from audit.runs") == [("rebuild", None, None)]


def test_range_from_the_first_day_of_the_calendar_is_taken(gold: Query, begin: Begin) -> None:
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        begin(window_start="0001-01-01", window_end="2018-01-01")
    assert list(skipped.value.tasks) == ["freshness"]
    # There is nothing before it that a lookback could reach.
    assert gold("select window_start::text, extract_from::text from audit.runs") == [
        ("0001-01-01 00:00:00+00", "0001-01-01 00:00:00+00")
    ]


def test_run_goes_on_from_the_watermark_and_not_from_the_oldest_row(
    gold: Query, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDALLION_HISTORY_START", "2017-01-01")
    settings.cache_clear()
    covered = datetime(2018, 2, 1, tzinfo=UTC)
    gold("update audit.pipeline set watermark = %s", (covered,))
    assert begin()["window"]["window_start"] == "2018-02-01T00:00:00+00:00"
    assert gold("select watermark from audit.pipeline") == [(covered,)]
