"""Hourly backfills, forward or backwards and beside scheduled runs, lead to the tables that the oracle computes."""

from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from medallion.names import HOURLY_DAG
from oracle.model import MODELS
from stack.airflow_api import AirflowApi
from support.waiting import wait_until

from .conftest import NOTIFICATIONS, Stack


def find_past_hours(stack: Stack, count: int) -> list[datetime]:
    """Return the bounds of `count` scheduled hours in a row. The first is the median hour of the orders' changes."""
    [(hour,)] = stack.query_source(
        "select date_trunc('hour', percentile_disc(0.5) within group (order by updated_at)) from sales.orders",
    )
    minute, *_ = stack.environment["MEDALLION_SCHEDULE"].split()
    return [hour + timedelta(hours=number, minutes=int(minute)) for number in range(count + 1)]


def change_orders(stack: Stack, moments: list[datetime], **values: str) -> None:
    """For each of the moments, update a delivered order, and set its `updated_at` to the moment."""
    assignments = ", ".join(f"\"{name}\" = '{value}'" for name, value in values.items())
    stack.query_source(
        "alter table sales.orders disable trigger user;"
        f" update sales.orders set {assignments}, updated_at = moment from ("
        "   select order_id, row_number() over (order by order_id) as number from sales.orders"
        f"  where order_status = 'delivered' and updated_at < '{min(moments)}'"
        " ) as older join ("
        "   select moment, row_number() over () as number"
        f"  from unnest(array[{', '.join(repr(str(moment)) for moment in moments)}]::timestamptz[]) as moment"
        " ) as moments using (number) where orders.order_id = older.order_id;"
        " alter table sales.orders enable trigger user",
    )


def range_options(hours: list[datetime]) -> list[str]:
    """Return the options `--from` and `--to` for the range of the hours."""
    return ["--from", f"{hours[0]:%Y-%m-%dT%H:%M:%S}", "--to", f"{hours[-1]:%Y-%m-%dT%H:%M:%S}"]


def test_backfill_beside_the_schedule_equals_one_run_over_its_range(stack: Stack, first_run: str) -> None:
    """The source also gets columns with unusual types and names. Bronze captures them, and no later layer fails."""
    stack.query_source(
        'alter table sales.orders add column channel text, add column "order" jsonb, add column "A Blob" bytea,'
        " add column copy text, add column _deleted text, add column _batch text",
    )
    hours = find_past_hours(stack, 3)
    moment = hours[1] + timedelta(minutes=5)
    # One item of an order changes, and its other rows stay unchanged.
    stack.query_source(
        "alter table sales.order_items disable trigger user;"
        " update sales.order_items set seller_id = (select max(seller_id) from sales.sellers),"
        f" updated_at = '{moment}' where order_item_id = '1' and order_id = ("
        "   select order_id from sales.order_items group by 1"
        f"  having count(*) = 2 and max(updated_at) < '{hours[0]}' order by 1 limit 1);"
        " alter table sales.order_items enable trigger user",
    )
    values = {
        "channel": "app",
        "order": '{"a": [1]}',
        "A Blob": r"\xCAFE",
        "copy": "first",
        "_deleted": "no",
        "_batch": "x",
    }
    change_orders(stack, [moment], order_status="canceled", **values)
    with AirflowApi(stack.settings) as airflow:
        runs = f"/api/v2/dags/{HOURLY_DAG}/dagRuns"
        # If a run is cleared while its first task is skipping others, Airflow leaves those tasks skipped. Therefore
        # wait until no run is active.
        wait_until(lambda: not airflow.active(HOURLY_DAG))
        # Change a row in the hour of the last scheduled run, and clear that run.
        [scheduled] = airflow.call("GET", f"{runs}?run_type=scheduled&order_by=-logical_date&limit=1")[
            "dag_runs"
        ]
        run = f"{runs}/{scheduled['dag_run_id']}"
        last_hour = datetime.fromisoformat(scheduled["data_interval_end"])
        change_orders(stack, [last_hour - timedelta(minutes=5)], order_status="canceled", channel="shop")
        airflow.call("POST", f"{run}/clear", {"dry_run": False})
        stack.run("backfill", *range_options(hours))
        wait_until(lambda: airflow.call("GET", run)["state"] == "success")
        backfilled = airflow.call("GET", f"{runs}?run_type=backfill&order_by=start_date")["dag_runs"]
        # The runs took turns: the cleared run ended after the first backfilled run had started, and before the third.
        scheduled_end = airflow.call("GET", run)["end_date"]
        assert backfilled[0]["start_date"] < scheduled_end < backfilled[2]["start_date"]
    assert stack.find_differences(*MODELS) == {}
    # The cleared run published its own batch, so that the next run need not read its rows again.
    [(batch, read_batch)] = stack.query_audit(
        "select batch, published_batch from audit.publications"
        f" where run_id = ''{scheduled['dag_run_id']}'' order by batch desc limit 1"
    )
    assert batch == read_batch
    assert stack.query_trino(
        'select distinct channel, "order", "a blob", copy, _deleted_2, _batch_2 from bronze.orders'
        " where channel is not null order by 1"
    ) == [("app", '{"a": [1]}', "cafe", "first", "no", "x"), ("shop", None, None, None, None, None)]
    windows = stack.query_audit(
        "select window_start, window_end from audit.runs where kind = ''backfill'' order by 1"
    )
    assert windows == list(pairwise(hours))

    before = stack.read_published()
    window_end = "select window_end from gold.publication"
    [(published,)] = stack.query_gold(window_end)
    stack.run("trigger", *range_options(hours))
    assert stack.read_published() == before
    # After a run over a past window, the publication's `window_end` has not gone back.
    [(published_after,)] = stack.query_gold(window_end)
    assert published_after >= published

    # Backfilled runs wait long for the lease, but send no notification of a missed deadline.
    notifications = stack.settings.home / NOTIFICATIONS
    assert "of backfill" not in (notifications.read_text() if notifications.exists() else "")


@pytest.mark.long
@pytest.mark.parametrize("direction", [[], ["--run-backwards"]], ids=["forward", "backwards"])
def test_two_days_backfilled_by_airflow_itself(stack: Stack, first_run: str, direction: list[str]) -> None:
    """Orders change in every fourth hour. The windows of the other hours have no new rows, as at night."""
    hours = find_past_hours(stack, 48)
    change_orders(stack, [hour + timedelta(minutes=5) for hour in hours[:-1:4]], order_status="canceled")
    stack.run(
        *("exec", "--", "airflow", "backfill", "create", "--dag-id", HOURLY_DAG, *direction),
        *("--from-date", hours[0].isoformat(), "--to-date", hours[-2].isoformat()),
        *("--max-active-runs", "1", "--reprocess-behavior", "completed"),
    )
    with AirflowApi(stack.settings) as airflow:
        path = f"/api/v2/backfills?dag_id={HOURLY_DAG}"
        wait_until(
            lambda: all(backfill["completed_at"] for backfill in airflow.call("GET", path)["backfills"]),
            seconds=4 * 3600,
        )
    assert stack.find_differences(*MODELS) == {}

    before = stack.read_published()
    stack.run("trigger", *range_options(hours))
    assert stack.read_published() == before
