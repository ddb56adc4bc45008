"""How a run begins."""

from datetime import UTC, datetime

import pytest
from airflow.sdk.exceptions import AirflowNotFoundException

from medallion.engines.postgres import create_audit_tables
from medallion.run.lease import hold_lease
from medallion.run.source import SourceContractError, compare
from medallion.run.state import run_state
from medallion.run.window import RunKind, Window
from medallion.settings import settings
from medallion.tasks.begin import check_connections, record_window, request_rebuild
from support.postgres import Server
from support.task_instance import Task

from ..conftest import Query, connection


def day(number: int) -> datetime:
    return datetime(2018, 1, number, tzinfo=UTC)


def test_audit_tables_are_created_once(gold: Query) -> None:
    create_audit_tables()
    assert gold("select count(*) from audit.pipeline") == [(1,)]


def test_schemas_that_are_there_need_no_right_to_create_any(
    postgres: Server, gold: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    gold(
        "drop schema audit, staging, gold cascade; create role owner login; create schema audit authorization owner;"
        " create schema staging authorization owner; create schema gold authorization owner"
    )
    monkeypatch.setenv("AIRFLOW_CONN_MEDALLION_GOLD", connection(postgres, "bi", login="owner"))
    try:
        create_audit_tables()
        assert gold("select tableowner from pg_tables where tablename = 'pipeline'") == [("owner",)]
    finally:
        gold("drop owned by owner; drop role owner")


def test_without_rows_there_is_no_window_and_no_watermark(gold: Query, source: Query) -> None:
    kept = record_window(Task("a"), RunKind.MANUAL, None, None)
    assert kept == {"window_start": None, "window_end": None}
    assert gold("select watermark from audit.pipeline") == [(None,)]
    assert run_state(Task("a")).extract_from is None


def test_run_that_began_on_an_empty_source_gets_its_window_when_it_is_cleared(
    gold: Query, source: Query
) -> None:
    hour = Window(day(3), day(3).replace(hour=1))
    assert record_window(Task("a"), RunKind.SCHEDULED, None, hour)["window_start"] is None
    [(first,)] = gold("select resolved_at from audit.runs")
    source("insert into sales.orders values ('2018-01-03Z')")
    assert record_window(Task("a"), RunKind.BACKFILL, None, hour) == {
        "window_start": "2018-01-03T00:00:00+00:00",
        "window_end": "2018-01-03T01:00:00+00:00",
    }
    assert gold("select kind, resolved_at > %s from audit.runs", (first,)) == [("backfill", True)]


def test_time_that_no_window_reaches_is_no_beginning(gold: Query, source: Query) -> None:
    source("insert into sales.orders values ('-infinity'), ('0044-03-15Z BC')")
    source("insert into sales.products values (now() + interval '1 day'), ('12018-01-03Z'), ('infinity')")
    assert record_window(Task("a"), RunKind.MANUAL, None, None)["window_start"] is None
    source("insert into sales.sellers values ('infinity'), ('2018-01-03Z')")
    assert record_window(Task("b"), RunKind.MANUAL, None, None)["window_start"] == "2018-01-03T00:00:00+00:00"


def test_history_starts_at_the_oldest_row_of_any_table(gold: Query, source: Query) -> None:
    source("insert into sales.orders values ('2018-01-03Z')")
    source("insert into sales.geolocation values ('2018-01-02Z')")
    kept = record_window(Task("a"), RunKind.MANUAL, None, None)
    assert kept["window_start"] == "2018-01-02T00:00:00+00:00"
    assert gold("select watermark from audit.pipeline") == [(day(2),)]


def test_history_starts_where_the_setting_says(
    gold: Query, source: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    source("insert into sales.orders values ('2018-01-03Z')")
    monkeypatch.setenv("MEDALLION_HISTORY_START", "2017-01-01")
    settings.cache_clear()
    assert record_window(Task("a"), RunKind.MANUAL, None, None)["window_start"] == "2017-01-01T00:00:00+00:00"


def test_history_that_is_yet_to_start_keeps_no_window_waiting(
    gold: Query, source: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    source("insert into sales.orders values ('2018-01-03Z')")
    monkeypatch.setenv("MEDALLION_HISTORY_START", "2900-01-01")
    settings.cache_clear()
    record_window(Task("a"), RunKind.MANUAL, None, None)
    assert gold("select watermark <= now() from audit.pipeline") == [(True,)]


def test_cleared_run_keeps_its_window(gold: Query, source: Query) -> None:
    source("insert into sales.orders values ('2018-01-03Z')")
    first = record_window(Task("a"), RunKind.BACKFILL, None, Window(day(3), day(4)))
    again = record_window(Task("a", try_number=2), RunKind.BACKFILL, None, Window(day(5), day(6)))
    assert (
        first
        == again
        == {
            "window_start": "2018-01-03T00:00:00+00:00",
            "window_end": "2018-01-04T00:00:00+00:00",
        }
    )


@pytest.mark.parametrize("try_number", [1, 2], ids=["at once", "its first try died"])
def test_run_that_was_deleted_and_made_anew_gets_the_window_it_asks_for(
    gold: Query, source: Query, try_number: int
) -> None:
    source("insert into sales.orders values ('2018-01-03Z')")
    record_window(Task("a"), RunKind.RANGED, Window(day(3), day(4)), None)
    anew = record_window(Task("a", try_number=try_number), RunKind.RANGED, Window(day(5), day(6)), None)
    assert anew["window_start"] == "2018-01-05T00:00:00+00:00"


def test_extraction_reaches_back_by_the_lookback(gold: Query, source: Query) -> None:
    source("insert into sales.orders values ('2018-01-03Z')")
    record_window(Task("a"), RunKind.RANGED, Window(day(3), day(4)), None)
    state = run_state(Task("a"))
    assert (state.extract_from, state.extract_to) == (
        "2018-01-02 23:45:00.000000",
        "2018-01-04 00:00:00.000000",
    )


def test_deeper_rebuild_stays_until_it_is_published(gold: Query) -> None:
    hold_lease(Task("a"))
    request_rebuild("silver")
    request_rebuild("gold")
    request_rebuild("none")
    assert gold("select rebuild, rebuild_batch from audit.pipeline") == [("silver", 1)]
    assert run_state(Task("a")).base_snapshots == {}


def test_every_missing_connection_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRINO", "THRIFT", "SPARK", "SOURCE", "GOLD"):
        monkeypatch.setenv(f"AIRFLOW_CONN_MEDALLION_{name}", '{"conn_type": "generic"}')
    check_connections()
    monkeypatch.delenv("AIRFLOW_CONN_MEDALLION_SPARK")
    monkeypatch.delenv("AIRFLOW_CONN_MEDALLION_GOLD")
    with pytest.raises(AirflowNotFoundException, match="no connection medallion_spark, medallion_gold: add"):
        check_connections()


def test_source_that_lost_a_column_or_table_is_refused_by_their_names() -> None:
    expected = {"orders": {"order_id", "order_status"}, "sellers": {"seller_id"}}
    compare(expected, expected)
    with pytest.raises(SourceContractError) as caught:
        compare(expected, {"orders": {"order_id"}, "new_table": {"x"}})
    assert "no table sales.sellers, no column sales.orders.order_status" in str(caught.value)


def test_new_column_of_the_source_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    compare({"orders": {"order_id"}}, {"orders": {"order_id", "channel"}})
    assert "new column sales.orders.channel" in caplog.text
