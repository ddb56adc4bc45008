"""The first task of a run as a whole, with a real source and a real gold database."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSkipException,
    DownstreamTasksSkipped,
    TaskDeferred,
)
from airflow.utils.types import DagRunType
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from medallion.engines.postgres import BlockedError, quote, transaction
from medallion.names import CHANGED_AT
from medallion.project.contracts import gold_tables
from medallion.project.declarations import declarations
from medallion.project.manifest import model_tables
from medallion.run.history import load_history
from medallion.run.lease import try_lease
from medallion.run.window import RunKind
from medallion.settings import settings
from medallion.tasks.begin import BeginRunOperator, check_connections
from support.task_instance import HOURLY, MAINTENANCE, RECONCILE, Task, dag_of

from ..conftest import Query, publish, record_success
from .conftest import HOUR, Begin


def test_run_takes_the_lease_and_shows_its_window(gold: Query, begin: Begin) -> None:
    window = begin()["window"]
    assert window["window_start"] == "2018-01-03T10:00:00+00:00"
    assert gold("select lease_run_id, watermark from audit.pipeline") == [
        ("a", datetime(2018, 1, 3, 10, tzinfo=UTC))
    ]
    [(kind, start, end)] = gold("select kind, window_start, window_end from audit.runs where run_id = 'a'")
    assert (kind, start.isoformat(), end.isoformat()) == (
        "manual",
        window["window_start"],
        window["window_end"],
    )


def test_run_that_was_deleted_and_recreated_writes_under_a_batch_of_its_own(
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
        begin(runs={"other": "running"})
    assert isinstance(deferred.value.trigger, TimeDeltaTrigger)
    assert 0 < deferred.value.trigger.moment.timestamp() - datetime.now(UTC).timestamp() <= 7
    assert deferred.value.method_name == "execute"
    assert gold("select lease_run_id from audit.pipeline") == [("other",)]
    assert gold("select * from audit.runs") == []


def test_run_waits_deferred_while_the_pipelines_row_is_locked(
    gold: Query, begin: Begin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(ti: Task) -> None:
        raise BlockedError("process 7 holds it")

    monkeypatch.setattr("medallion.tasks.begin.ask_lease", ask)
    with pytest.raises(TaskDeferred):
        begin()
    assert "process 7 holds it" in capsys.readouterr().out


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


def test_lost_column_fails_at_once_and_takes_nothing(gold: Query, begin: Begin, plant: Query) -> None:
    plant('alter table plant."Reading Log" drop column reading_id')
    with pytest.raises(
        AirflowFailException, match=r"plant\.Reading Log: the source has no column reading_id"
    ):
        begin()
    assert gold("select lease_run_id, last_batch from audit.pipeline") == [(None, 0)]


def test_missing_connection_is_retried(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow raises the same error while its api-server is down, so the task is retried."""
    monkeypatch.delenv("AIRFLOW_CONN_MEDALLION_SPARK")
    with pytest.raises(AirflowNotFoundException, match="no connection medallion_spark"):
        begin()


def test_layers_that_nobody_requested_are_skipped(begin: Begin) -> None:
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        begin(up_to="silver")
    assert set(skipped.value.tasks) == {
        task
        for task in HOURLY.task_ids
        if task.startswith(("gold.", "stage.")) or task in ("audit", "publish")
    }


def begin_daily(run_type: str, dag: DAG, kind: RunKind) -> None:
    """Run the task `begin` of a daily DAG."""
    context: Any = {
        "ti": Task("daily", dag=dag),
        "params": {},
        "dag_run": SimpleNamespace(
            run_type=DagRunType(run_type), data_interval_start=None, data_interval_end=None
        ),
    }
    BeginRunOperator(task_id="begin", kind=kind).execute(context)


DAILY = pytest.mark.parametrize(
    ("dag", "kind"), [(RECONCILE, RunKind.RECONCILE), (MAINTENANCE, RunKind.MAINTENANCE)], ids=str
)


@DAILY
def test_scheduled_daily_run_before_the_first_publication_is_skipped(
    gold: Query, begin: Begin, dag: DAG, kind: RunKind
) -> None:
    with pytest.raises(AirflowSkipException, match="Nothing was published yet"):
        begin_daily("scheduled", dag, kind)
    assert gold("select lease_run_id, last_batch from audit.pipeline") == [(None, 0)]


@DAILY
def test_scheduled_daily_run_before_the_first_run_is_skipped_and_creates_nothing(
    empty_gold: Query, dag: DAG, kind: RunKind
) -> None:
    with pytest.raises(AirflowSkipException, match="Nothing was published yet"):
        begin_daily("scheduled", dag, kind)
    assert empty_gold("select to_regnamespace('audit')") == [(None,)]


@DAILY
@pytest.mark.parametrize("run_type", ["manual", "scheduled"])
def test_other_daily_runs_take_the_lease(
    gold: Query, begin: Begin, dag: DAG, kind: RunKind, run_type: str
) -> None:
    if run_type == "scheduled":
        gold("insert into gold.publication values ('a', 1, null, now())")
    begin_daily(run_type, dag, kind)
    assert gold("select lease_run_id from audit.pipeline") == [("daily",)]


NOON = datetime(2018, 1, 3, 12, tzinfo=UTC)


def test_scheduled_run_ends_at_once_if_all_is_published(gold: Query, begin: Begin) -> None:
    gold("update audit.pipeline set watermark = %s, last_batch = 5, published_batch = 5", (NOON,))
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        begin(hour=NOON - HOUR)
    assert set(skipped.value.tasks) == set(HOURLY.task_ids) - {"begin", "freshness", "end"}


@pytest.mark.parametrize(
    ("hour", "change", "try_number"),
    [
        (NOON, None, 1),  # The run's hour is not covered yet.
        (NOON - HOUR, None, 2),
        (NOON - HOUR, "last_batch = 6", 1),  # A later run, such as a reconciliation, drew a batch.
        (NOON - HOUR, "rebuild = 'gold'", 1),
        (NOON - HOUR, "outdated = '{gold.readings_by_day}'", 1),
        (NOON - HOUR, "fingerprints = fingerprints - 'gold.readings_by_day'", 1),
    ],
    ids=["later", "attempted before", "unpublished", "rebuild", "rebuild of a table", "other code"],
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
    """Create bronze.readings as published under batch 5. There is no bronze.devices.

    The source's only row of readings changed at 2018-01-03T10:00Z.
    """
    names = ("reading_id", "device_id", "read_at", "amount", CHANGED_AT)  # the columns that silver reads
    columns = pa.schema([*((name, pa.string()) for name in names), ("_batch", pa.int64())])
    table = catalog.create_table("bronze.readings", columns)
    table.append(pa.table({"_batch": [5]}))
    gold(
        "update audit.pipeline set last_batch = 5, published_batch = 5,"
        ' published_snapshots = \'{"bronze.readings": 1, "gold.readings_by_day": 2}\''
    )
    gold("insert into audit.data_pipeline_runs values"
         " ('before', 'readings', now(), now(), 'success', 1, 'medallion_hourly', 'bronze.readings', 1, 5, null,"
         " 'bronze', 'build')")  # fmt: skip
    return table


NO_ROW = {"window_start": "2018-01-03T10:16Z", "window_end": "2018-01-04T00:00Z"}
A_ROW = NO_ROW | {"window_start": "2018-01-03T10:15Z"}  # with the lookback of 15 minutes it includes the row


@pytest.mark.parametrize("params", [NO_ROW, {"rebuild": "silver"}], ids=["range", "rebuild"])
def test_table_without_a_row_in_the_window_is_skipped_and_counts_as_extracted(
    gold: Query, begin: Begin, captured: Table, params: dict[str, str]
) -> None:
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        begin(**params)
    assert set(skipped.value.tasks) == {"freshness", "bronze.readings"}
    assert gold(
        "select run_id, model_name, status, batch from audit.data_pipeline_runs"
        " where task_id = 'bronze.readings' order by batch"
    ) == [
        ("before", "readings", "success", 5), ("a", "readings", "skipped", 6)
    ]  # fmt: skip
    with transaction() as cursor:
        cursor.execute("select resolved_at from audit.runs")
        [window] = cursor.fetchall()
        without_devices = dag_of(HOURLY.dag_id, ("bronze.readings",), ("publish",))
        history = load_history(cursor, Task("a", "publish", dag=without_devices))
        assert history.bronze_covers_window(window.resolved_at)


def test_row_in_the_window_or_in_its_lookback_is_captured(begin: Begin, captured: Table) -> None:
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        begin(**A_ROW)
    assert list(skipped.value.tasks) == ["freshness"]


def never_published(gold: Query, table: Table) -> None:
    gold("update audit.pipeline set published_snapshots = '{}'")


def written_by_a_run_that_failed(gold: Query, table: Table) -> None:
    gold("update audit.data_pipeline_runs set batch = 6, status = 'failed'")


def written_by_an_unknown_run(gold: Query, table: Table) -> None:
    table.append(pa.table({"_batch": [6]}))


def without_a_column_that_is_needed_now(gold: Query, table: Table) -> None:
    with table.update_schema() as update:
        update.delete_column("reading_id")


def gone(gold: Query, table: Table) -> None:
    table.catalog.drop_table(table.name())


@pytest.mark.parametrize(
    "state",
    [
        never_published,
        written_by_a_run_that_failed,
        written_by_an_unknown_run,
        without_a_column_that_is_needed_now,
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
    """The task of the table must run: it creates a missing table, and tests rows that were never published."""
    state(gold, captured)
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        begin(**params)
    assert list(skipped.value.tasks) == ["freshness"]


def columns_of(table: str) -> dict[str, pa.DataType]:
    """Return the columns that a staging table declares; for any other table those that silver reads of devices."""
    if not table.startswith("silver.stg_"):
        return dict.fromkeys(("device_id", "site", CHANGED_AT), pa.string())
    types = {"text": pa.string(), "timestamp": pa.timestamp("us"), "decimal(18,2)": pa.decimal128(18, 2)}
    declared = declarations()[table.removeprefix("silver.stg_")].columns
    return {column: types[data_type] for column, data_type in declared.items()}


@pytest.fixture
def all_published(gold: Query, begin: Begin, captured: Table) -> Table:
    """Create all tables of the lake as published under batch 5, and the gold tables in PostgreSQL."""
    for name in model_tables() - {"bronze.readings"}:
        table = captured.catalog.create_table(
            name, pa.schema([*columns_of(name).items(), ("_batch", pa.int64())])
        )
        table.append(pa.table({"_batch": [5]}))
    snapshots = {
        name: captured.catalog.load_table(name).metadata.current_snapshot_id for name in model_tables()
    }
    gold("update audit.pipeline set published_snapshots = %s", (json.dumps(snapshots),))
    for table in gold_tables():
        columns = ", ".join(f"{quote(name)} {kind}" for name, kind in table.columns.items())
        gold(f"create table gold.{table.name} ({columns})")
        gold(
            f"create unique index {table.name}_key on gold.{table.name} ({', '.join(map(quote, table.key))})"
        )
    return captured


def test_run_without_any_change_has_nothing_to_do_but_to_publish(
    gold: Query, begin: Begin, all_published: Table
) -> None:
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        begin(**NO_ROW)
    assert {*HOURLY.task_ids} - {*skipped.value.tasks} == {"begin", "publish", "end"}
    publish(Task("a", "publish"), None)
    assert gold("select batch, run_id from gold.publication") == [(6, "a")]
    [(published, snapshots)] = gold("select published_batch, published_snapshots from audit.pipeline")
    assert published == 6 and snapshots.keys() == model_tables()


def written_by_maintenance(gold: Query, table: Table) -> None:
    gold("update audit.data_pipeline_runs set batch = 6, task_id = 'compact', role = 'maintain'")


def to_be_rebuilt(gold: Query, table: Table) -> None:
    gold("update audit.pipeline set outdated = '{gold.readings_by_day}'")


def lost_by_bi(gold: Query, table: Table) -> None:
    gold("drop table gold.readings_by_day")


def altered_in_bi(gold: Query, table: Table) -> None:
    gold("alter table gold.readings_by_day add column more text")


def mart_is_gone(gold: Query, table: Table) -> None:
    table.catalog.drop_table("silver.fact_readings")


@pytest.mark.parametrize(
    "state", [written_by_maintenance, to_be_rebuilt, lost_by_bi, altered_in_bi, mart_is_gone]
)
def test_run_without_new_rows_audits_whatever_else_has_changed(
    gold: Query, begin: Begin, all_published: Table, state: Callable[[Query, Table], None]
) -> None:
    state(gold, all_published)
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        begin(**NO_ROW)
    assert {*skipped.value.tasks} == {"freshness", "bronze.readings", "bronze.devices"}


def test_run_that_stops_before_it_publishes_skips_only_idle_tables(
    begin: Begin, all_published: Table
) -> None:
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        begin(up_to="gold", **NO_ROW)
    assert "silver_staging.spark" not in skipped.value.tasks


def test_tables_written_after_the_run_began_are_not_passed_over(
    gold: Query, begin: Begin, all_published: Table
) -> None:
    with pytest.raises(DownstreamTasksSkipped):
        begin(**NO_ROW)
    record_success(Task("a", "bronze.readings", try_number=2))
    with pytest.raises(AirflowFailException, match="clear it from `begin`"):
        publish(Task("a", "publish"), None)
    assert gold("select count(*) from gold.publication") == [(0,)]


def test_skip_is_recorded_again_if_the_run_is_cleared(gold: Query, begin: Begin, captured: Table) -> None:
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
    # The lookback can't reach back before year 1.
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


def test_every_missing_connection_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRINO", "THRIFT", "SPARK", "SOURCE", "GOLD"):
        monkeypatch.setenv(f"AIRFLOW_CONN_MEDALLION_{name}", '{"conn_type": "generic"}')
    check_connections()
    monkeypatch.delenv("AIRFLOW_CONN_MEDALLION_SPARK")
    monkeypatch.delenv("AIRFLOW_CONN_MEDALLION_GOLD")
    with pytest.raises(
        AirflowNotFoundException, match=r"no connection medallion_spark, medallion_gold\. Add"
    ):
        check_connections()
