"""The gold tables after a publication: rows, types and keys, and what a reader sees meanwhile."""

import random
import string
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from medallion.project.contracts import gold_tables
from medallion.run.lease import hold_lease, release
from support.postgres import Server
from support.task_instance import Task

from ..conftest import Query, Stage, create_staging, forget_lease, publish, record_success

MONTHS = "select device_id, month::text, readings from gold.readings_by_device_month order by 1, 2"
A, B = "a", "b"
JANUARY, FEBRUARY = "2018-01-01", "2018-02-01"

Rows = dict[tuple[str, str], int | None]
Begin = Callable[..., Any]


@pytest.fixture
def begin(stage: Stage) -> Begin:
    """Simulate a run up to its staging; returns the result that its task `audit` would have.

    `rows`: the staged rows of `readings_by_device_month`, key -> readings, or None if the row is to be deleted.
    """

    def begin(
        run: str,
        rows: Rows,
        window: tuple[datetime, datetime] | None = None,
        without: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        return stage(
            run,
            window,
            without,
            readings_by_device_month=[
                {"device_id": device, "month": month, "readings": readings, "_deleted": readings is None}
                for (device, month), readings in rows.items()
            ],
        )

    return begin


def test_rows_are_told_apart_by_every_column_of_the_key(gold: Query, begin: Begin) -> None:
    publish(Task("a", "publish"), begin("a", {(B, JANUARY): 1, (B, FEBRUARY): 2, (A, FEBRUARY): 3}))
    publish(Task("b", "publish"), begin("b", {(B, FEBRUARY): None, (A, FEBRUARY): 4, (A, JANUARY): 5}))
    assert gold(MONTHS) == [(A, JANUARY, 5), (A, FEBRUARY, 4), (B, JANUARY, 1)]


def test_whole_publication_drops_by_every_column_of_the_key(gold: Query, begin: Begin) -> None:
    publish(Task("a", "publish"), begin("a", {(B, JANUARY): 1, (B, FEBRUARY): 2, (A, FEBRUARY): 3}))
    publish(Task("b", "publish"), begin("b", {(B, JANUARY): 1, (A, FEBRUARY): 3}) | {"base_snapshots": {}})
    assert gold(MONTHS) == [(A, FEBRUARY, 3), (B, JANUARY, 1)]


def test_row_that_is_the_same_is_not_written_again(gold: Query, begin: Begin) -> None:
    versions = "select device_id, xmin::text from gold.readings_by_device_month"
    publish(Task("a", "publish"), begin("a", {(B, JANUARY): 1, (A, JANUARY): 2}))
    before: dict[str, str] = dict(gold(versions))
    publish(Task("b", "publish"), begin("b", {(B, JANUARY): 1, (A, JANUARY): 3}) | {"base_snapshots": {}})
    after: dict[str, str] = dict(gold(versions))
    assert after[B] == before[B] and after[A] != before[A]


def test_figure_that_becomes_unknown_is_published(gold: Query, begin: Begin) -> None:
    publish(Task("a", "publish"), begin("a", {(B, JANUARY): 1}))
    audited = begin("b", {(B, JANUARY): 1})
    gold("update staging.readings_by_device_month_2_1 set readings = null")
    publish(Task("b", "publish"), audited)
    assert gold(MONTHS) == [(B, JANUARY, None)]


def test_table_that_was_altered_after_the_audit_is_not_published(gold: Query, begin: Begin) -> None:
    publish(Task("a", "publish"), begin("a", {(B, JANUARY): 1}))
    audited = begin("b", {(B, JANUARY): 2})
    gold("alter table gold.readings_by_device_month add column note text")
    with pytest.raises(
        AirflowFailException, match=r"gold\.readings_by_device_month is gone .* or was altered"
    ):
        publish(Task("b", "publish"), audited)


def test_keys_are_unique(gold: Query, begin: Begin) -> None:
    publish(Task("a", "publish"), begin("a", {}))
    indexes = gold(
        "select indrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index"
        " join pg_class on pg_class.oid = indrelid where indisunique and relnamespace = 'gold'::regnamespace"
        " and relname <> 'publication'"
    )
    assert {table: definition.partition(" USING btree ")[2] for table, definition in indexes} == {
        "gold.devices_by_site": "(md5(site))",
        "gold.readings_by_day": "(day)",
        "gold.readings_by_device_month": "(md5(device_id), month)",
    }


def test_key_may_be_longer_than_an_index_takes(gold: Query, begin: Begin) -> None:
    long = "".join(random.Random(0).choices(string.printable, k=10_000))
    publish(Task("a", "publish"), begin("a", {(long, JANUARY): 1, (long + "x", JANUARY): 2}))
    publish(Task("b", "publish"), begin("b", {(long, JANUARY): 3}))
    assert sorted(gold(MONTHS)) == [(long, JANUARY, 3), (long + "x", JANUARY, 2)]


def test_columns_have_the_types_of_the_contract(gold: Query, begin: Begin) -> None:
    publish(Task("a", "publish"), begin("a", {}))
    kinds = {
        f"{table}.{column}": kind
        for table, column, kind in gold(
            "select attrelid::regclass::text, attname, format_type(atttypid, atttypmod) from pg_attribute"
            " where attrelid::regclass::text like 'gold.%%' and attnum > 0", ()
        )
    }  # fmt: skip
    assert kinds["gold.devices_by_site.site"] == "text"
    assert kinds["gold.devices_by_site.devices"] == "bigint"
    assert kinds["gold.readings_by_day.total"] == "numeric(18,2)"
    assert kinds["gold.readings_by_device_month.month"] == "date"
    assert kinds["gold.readings_by_device_month.average"] == "double precision"
    assert kinds["gold.readings_by_device_month.last_read_at"] == "timestamp without time zone"
    assert not [name for name in kinds if name.endswith("._batch")]


def test_reader_in_one_transaction_sees_one_publication(gold: Query, begin: Begin, postgres: Server) -> None:
    publish(Task("a", "publish"), begin("a", {(B, JANUARY): 1, (A, JANUARY): 2}))
    audited = begin("b", {(B, JANUARY): None, (A, JANUARY): 9})
    with psycopg.connect(postgres.url(database="bi")) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        assert reader.execute("select batch from gold.publication").fetchall() == [(1,)]
        publish(Task("b", "publish"), audited)  # publishing does not wait for the reader
        assert reader.execute(MONTHS.encode()).fetchall() == [(A, JANUARY, 2), (B, JANUARY, 1)]
    assert gold(MONTHS) == [(A, JANUARY, 9)]


def test_failed_publication_leaves_the_staged_rows_for_the_next_attempt(gold: Query, begin: Begin) -> None:
    audited = begin("a", {(B, JANUARY): 1})
    gold("insert into staging.devices_by_site_1_1 (site, _deleted) values (null, false)")
    with pytest.raises(psycopg.errors.NotNullViolation):
        publish(Task("a", "publish"), audited)
    assert gold("select tablename from pg_tables where schemaname = 'gold' order by 1") == [("publication",)]
    assert gold("select published_batch, published_snapshots from audit.pipeline") == [(0, {})]
    gold("delete from staging.devices_by_site_1_1")
    publish(Task("a", "publish"), audited)
    assert gold(MONTHS) == [(B, JANUARY, 1)]


def test_publication_is_not_repeated(gold: Query, begin: Begin) -> None:
    audited = begin("a", {(B, JANUARY): 1})
    counts = publish(Task("a", "publish"), audited)
    before = gold("select * from gold.publication")
    # The attempt was killed before it could report its success.
    assert publish(Task("a", "publish"), audited) == counts
    assert gold("select * from gold.publication") == before


def test_run_without_a_window_publishes_and_leaves_the_watermark(gold: Query, begin: Begin) -> None:
    covered = datetime(2018, 1, 1, tzinfo=UTC)
    gold("update audit.pipeline set watermark = %s", (covered,))
    publish(Task("a", "publish"), begin("a", {(B, JANUARY): 1}))
    assert gold("select watermark from audit.pipeline") == [(covered,)]
    assert gold("select run_id, batch, window_end from gold.publication") == [("a", 1, covered)]
    assert gold(MONTHS) == [(B, JANUARY, 1)]


def test_watermark_that_is_unset_stays_unset(gold: Query, begin: Begin) -> None:
    window = datetime(2018, 1, 1, 1, tzinfo=UTC), datetime(2018, 1, 1, 2, tzinfo=UTC)
    publish(Task("a", "publish"), begin("a", {(B, JANUARY): 1}, window))
    assert gold("select watermark from audit.pipeline") == [(None,)]


def test_staged_rows_are_counted_for_their_task(gold: Query, begin: Begin) -> None:
    publish(Task("a", "publish"), begin("a", {(B, JANUARY): 1, (A, JANUARY): 2}))
    records: dict[str, int] = dict(
        gold("select task_id, records_processed from audit.data_pipeline_runs where task_id ~ 'stage'")
    )
    assert records == {f"stage.{table.name}": 0 for table in gold_tables()} | {
        "stage.readings_by_device_month": 2
    }


def test_publishing_takes_the_lease_that_was_given_back(gold: Query, begin: Begin) -> None:
    audited = begin("a", {(B, JANUARY): 1})
    release(Task("a"))
    publish(Task("a", "publish"), audited)
    assert gold("select lease_run_id, lease_batch from audit.pipeline") == [("a", 2)]
    assert gold("select batch from gold.publication") == [(1,)]


def test_older_batch_is_refused_although_the_published_batch_was_held_back(gold: Query, begin: Begin) -> None:
    early = "gold.readings_by_day"
    hold_lease(Task("cut off"))  # draws batch 1, under which one task runs
    record_success(Task("cut off", early))
    forget_lease(gold)
    publish(Task("b", "publish"), begin("b", {(B, JANUARY): 2}))  # batch 2
    forget_lease(gold)
    older = begin("older", {(B, JANUARY): 3})  # batch 3, which is only audited
    forget_lease(gold)
    # One task of this run had already run under batch 1, so batch 4 does not become the published batch.
    publish(Task("cut off", "publish"), begin("cut off", {(B, JANUARY): 4}, without=(early,)))
    assert gold("select published_batch from audit.pipeline") == [(2,)]
    forget_lease(gold)
    # The stage tasks of the older run are cleared, and stage the rows that were audited.
    for table in gold_tables():
        create_staging(gold, f"{table.name}_3_1", table.columns)
    gold(
        "insert into staging.readings_by_device_month_3_1 (device_id, month, readings, _deleted)"
        " values ('b', '2018-01-01', 3, false)"
    )
    with pytest.raises((AirflowSkipException, AirflowFailException)):
        publish(Task("older", "publish"), older)
