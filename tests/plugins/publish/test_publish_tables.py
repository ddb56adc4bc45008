"""What a publication makes of the tables, of what it does not change, and of who reads meanwhile."""

import random
import string
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from medallion.project.contracts import gold_tables
from medallion.publish.publish import publish
from medallion.run.attempts import AttemptListener, close_attempt
from medallion.run.lease import hold_lease, release
from support.postgres import Server
from support.task_instance import Task

from ..conftest import Query, Stage

DELIVERY = "select state, month::text, delivered_orders from gold.readings_by_device_month order by 1, 2"
SP, RJ = "SP", "RJ"
JANUARY, FEBRUARY = "2018-01-01", "2018-02-01"

Rows = dict[tuple[str, str], int | None]
Begin = Callable[..., dict[str, Any]]


@pytest.fixture
def begin(stage: Stage) -> Begin:
    """Begin a run and stage rows of `readings_by_device_month`; returns what the run's audit says."""

    def begin(run: str, rows: Rows, window: tuple[datetime, datetime] | None = None) -> dict[str, Any]:
        return stage(
            run,
            window,
            readings_by_device_month=[
                {"state": state, "month": month, "delivered_orders": orders, "_deleted": orders is None}
                for (state, month), orders in rows.items()
            ],
        )

    return begin


def test_rows_are_told_apart_by_every_column_of_the_key(gold: Query, begin: Begin) -> None:
    publish(Task("a"), begin("a", {(SP, JANUARY): 1, (SP, FEBRUARY): 2, (RJ, FEBRUARY): 3}))
    publish(Task("b"), begin("b", {(SP, FEBRUARY): None, (RJ, FEBRUARY): 4, (RJ, JANUARY): 5}))
    assert gold(DELIVERY) == [(RJ, JANUARY, 5), (RJ, FEBRUARY, 4), (SP, JANUARY, 1)]


def test_whole_publication_drops_by_every_column_of_the_key(gold: Query, begin: Begin) -> None:
    publish(Task("a"), begin("a", {(SP, JANUARY): 1, (SP, FEBRUARY): 2, (RJ, FEBRUARY): 3}))
    publish(Task("b"), begin("b", {(SP, JANUARY): 1, (RJ, FEBRUARY): 3}) | {"base_snapshots": {}})
    assert gold(DELIVERY) == [(RJ, FEBRUARY, 3), (SP, JANUARY, 1)]


def test_row_that_is_the_same_is_not_written_again(gold: Query, begin: Begin) -> None:
    versions = "select state, xmin::text from gold.readings_by_device_month"
    publish(Task("a"), begin("a", {(SP, JANUARY): 1, (RJ, JANUARY): 2}))
    before = dict(gold(versions))
    publish(Task("b"), begin("b", {(SP, JANUARY): 1, (RJ, JANUARY): 3}) | {"base_snapshots": {}})
    after = dict(gold(versions))
    assert after[SP] == before[SP] and after[RJ] != before[RJ]


def test_figure_that_becomes_unknown_is_published(gold: Query, begin: Begin) -> None:
    publish(Task("a"), begin("a", {(SP, JANUARY): 1}))
    audited = begin("b", {(SP, JANUARY): 1})
    gold("update staging.readings_by_device_month_2_1 set delivered_orders = null")
    publish(Task("b"), audited)
    assert gold(DELIVERY) == [(SP, JANUARY, None)]


def test_contract_that_changed_changes_the_columns(gold: Query, begin: Begin) -> None:
    publish(Task("a"), begin("a", {(SP, JANUARY): 1, (RJ, JANUARY): 2}))
    gold(
        "alter table gold.readings_by_device_month alter delivered_orders type smallint, drop column late_share,"
        " alter average_days type numeric(4,1)"
    )
    publish(Task("b"), begin("b", {(SP, JANUARY): 1_000_000}))
    assert gold(DELIVERY) == [(RJ, JANUARY, 2), (SP, JANUARY, 1_000_000)]
    [types] = gold(
        "select array_agg(format_type(atttypid, atttypmod) order by attname) from pg_attribute"
        " where attrelid = 'gold.readings_by_device_month'::regclass"
        " and attname in ('average_days', 'delivered_orders', 'late_share')"
    )
    assert types == (["numeric(18,2)", "bigint", "numeric(18,4)"],)


def test_keys_are_unique(gold: Query, begin: Begin) -> None:
    publish(Task("a"), begin("a", {}))
    found = gold(
        "select indrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index"
        " join pg_class on pg_class.oid = indrelid where indisunique and relnamespace = 'gold'::regnamespace"
        " and relname <> 'publication'"
    )
    assert {table: definition.partition(" USING btree ")[2] for table, definition in found} == {
        "gold.sales_by_category_month": "(month, md5(category))",
        "gold.readings_by_day": "(day)",
        "gold.customer_analytics": "(md5(customer_unique_id))",
        "gold.product_analytics": "(md5(product_id))",
        "gold.devices_by_site": "(md5(seller_id))",
        "gold.readings_by_device_month": "(md5(state), month)",
    }


def test_key_may_be_longer_than_an_index_takes(gold: Query, begin: Begin) -> None:
    long = "".join(random.Random(0).choices(string.printable, k=10_000))
    publish(Task("a"), begin("a", {(long, JANUARY): 1, (long + "x", JANUARY): 2}))
    publish(Task("b"), begin("b", {(long, JANUARY): 3}))
    assert sorted(gold(DELIVERY)) == [(long, JANUARY, 3), (long + "x", JANUARY, 2)]


def test_money_shares_and_times_have_their_types(gold: Query, begin: Begin) -> None:
    publish(Task("a"), begin("a", {}))
    kinds = {
        f"{table}.{column}": kind
        for table, column, kind in gold(
            "select attrelid::regclass::text, attname, format_type(atttypid, atttypmod) from pg_attribute"
            " where attrelid::regclass::text like 'gold.%%' and attnum > 0", ()
        )
    }  # fmt: skip
    assert kinds["gold.readings_by_day.payments"] == "numeric(18,2)"
    assert kinds["gold.devices_by_site.late_share"] == "numeric(18,4)"
    assert kinds["gold.customer_analytics.last_order_at"] == "timestamp without time zone"
    assert kinds["gold.sales_by_category_month.month"] == "date"
    assert kinds["gold.product_analytics.units"] == "bigint"
    assert not [name for name in kinds if name.endswith("._batch")]


def test_reader_in_one_transaction_sees_one_publication(gold: Query, begin: Begin, postgres: Server) -> None:
    publish(Task("a"), begin("a", {(SP, JANUARY): 1, (RJ, JANUARY): 2}))
    audited = begin("b", {(SP, JANUARY): None, (RJ, JANUARY): 9})
    with psycopg.connect(postgres.url(database="bi")) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        assert reader.execute("select batch from gold.publication").fetchall() == [(1,)]
        publish(Task("b"), audited)  # nor does the reader hold it up
        assert reader.execute(DELIVERY.encode()).fetchall() == [(RJ, JANUARY, 2), (SP, JANUARY, 1)]
    assert gold(DELIVERY) == [(RJ, JANUARY, 9)]


def test_failed_publication_leaves_what_was_staged_for_the_next_try(gold: Query, begin: Begin) -> None:
    audited = begin("a", {(SP, JANUARY): 1})
    gold("insert into staging.devices_by_site_1_1 (seller_id, _deleted) values (null, false)")
    with pytest.raises(psycopg.errors.NotNullViolation):
        publish(Task("a"), audited)
    assert gold("select tablename from pg_tables where schemaname = 'gold' order by 1") == [("publication",)]
    assert gold("select published_batch, published_snapshots from audit.pipeline") == [(0, {})]
    gold("delete from staging.devices_by_site_1_1")
    publish(Task("a"), audited)
    assert gold(DELIVERY) == [(SP, JANUARY, 1)]


def test_publication_is_not_repeated(gold: Query, begin: Begin) -> None:
    audited = begin("a", {(SP, JANUARY): 1})
    counts = publish(Task("a"), audited)
    before = gold("select * from gold.publication")
    # Its try was killed before it could tell of its success.
    assert publish(Task("a"), audited) == counts
    assert gold("select * from gold.publication") == before


def test_run_without_a_window_publishes_and_leaves_the_watermark(gold: Query, begin: Begin) -> None:
    covered = datetime(2018, 1, 1, tzinfo=UTC)
    gold("update audit.pipeline set watermark = %s", (covered,))
    publish(Task("a"), begin("a", {(SP, JANUARY): 1}))
    assert gold("select watermark from audit.pipeline") == [(covered,)]
    assert gold("select run_id, batch, window_end from gold.publication") == [("a", 1, covered)]
    assert gold(DELIVERY) == [(SP, JANUARY, 1)]


def test_watermark_that_is_unset_stays_unset(gold: Query, begin: Begin) -> None:
    window = datetime(2018, 1, 1, 1, tzinfo=UTC), datetime(2018, 1, 1, 2, tzinfo=UTC)
    publish(Task("a"), begin("a", {(SP, JANUARY): 1}, window))
    assert gold("select watermark from audit.pipeline") == [(None,)]


def test_staged_rows_are_counted_for_their_task(gold: Query, begin: Begin) -> None:
    publish(Task("a"), begin("a", {(SP, JANUARY): 1, (RJ, JANUARY): 2}))
    records = dict(gold("select task_id, records_processed from audit.data_pipeline_runs"))
    assert records == {f"stage.{table.name}": 0 for table in gold_tables()} | {
        "stage.readings_by_device_month": 2
    }


def test_publishing_takes_the_lease_that_was_given_back(gold: Query, begin: Begin) -> None:
    audited = begin("a", {(SP, JANUARY): 1})
    release(Task("a"))
    publish(Task("a"), audited)
    assert gold("select lease_run_id, lease_batch from audit.pipeline") == [("a", 2)]
    assert gold("select batch from gold.publication") == [(1,)]


def test_older_batch_is_refused_also_where_the_published_batch_was_held_back(
    gold: Query, begin: Begin
) -> None:
    hold_lease(Task("cut off"))  # batch 1: one of its tasks runs, no more
    AttemptListener().on_task_instance_running(None, Task("cut off"))
    close_attempt({"ti": Task("cut off")})
    release(Task("cut off"))
    publish(Task("b"), begin("b", {(SP, JANUARY): 2}))  # batch 2
    release(Task("b"))
    older = begin("older", {(SP, JANUARY): 3})  # batch 3: audited, no more
    release(Task("older"))
    publish(Task("cut off"), begin("cut off", {(SP, JANUARY): 4}))  # batch 4, which had read up to 1: 2 stays
    release(Task("cut off"))
    for table in gold_tables():  # its stage tasks are cleared: they stage what was audited
        columns = ", ".join(f"{name} {kind}" for name, kind in table.columns.items())
        gold(f"create table staging.{table.name}_3_1 ({columns}, _deleted boolean)")
    gold("insert into staging.readings_by_device_month_3_1 values ('SP', '2018-01-01', 3)")
    gold("update staging.readings_by_device_month_3_1 set _deleted = false")
    with pytest.raises((AirflowSkipException, AirflowFailException)):
        publish(Task("older"), older)
