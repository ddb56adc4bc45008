"""Backfills hour by hour, in either direction and beside the schedule, end as the source says; so does their range."""

from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from oracle.model import MODELS
from stack.airflow_api import AirflowApi
from stack.pipeline import DAG
from support.waiting import wait_until

from .conftest import NOTIFICATIONS, Stack


def hours_of_the_past(stack: Stack, count: int) -> list[datetime]:
    """The bounds of so many of the schedule's hours, from the middle of the source's changes on."""
    [(hour,)] = stack.rows(
        "SOURCE_URL",
        "select date_trunc('hour', percentile_disc(0.5) within group (order by updated_at)) from sales.orders",
    )
    minute, *_ = stack.environment["MEDALLION_SCHEDULE"].split()
    return [hour + timedelta(hours=number, minutes=int(minute)) for number in range(count + 1)]


def correct(stack: Stack, moments: list[datetime], **values: str) -> None:
    """Change an older, delivered order at each of the moments."""
    assignments = ", ".join(f"\"{name}\" = '{value}'" for name, value in values.items())
    stack.rows(
        "SOURCE_URL",
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


def arguments(hours: list[datetime]) -> list[str]:
    return ["--from", f"{hours[0]:%Y-%m-%dT%H:%M:%S}", "--to", f"{hours[-1]:%Y-%m-%dT%H:%M:%S}"]


def test_backfill_beside_the_schedule_is_as_the_range_in_one_run(stack: Stack, first_run: str) -> None:
    """The source got columns, too, of types and names that no engine likes: bronze keeps them, nothing else minds."""
    stack.rows(
        "SOURCE_URL",
        'alter table sales.orders add column channel text, add column "order" jsonb, add column "A Blob" bytea,'
        " add column copy text, add column _deleted text, add column _batch text",
    )
    hours = hours_of_the_past(stack, 6)
    moment = hours[2] + timedelta(minutes=5)
    # One of an order's items: its other rows stay as they are.
    stack.rows(
        "SOURCE_URL",
        "alter table sales.order_items disable trigger user;"
        " update sales.order_items set seller_id = (select max(seller_id) from sales.sellers),"
        f" updated_at = '{moment}' where order_item_id = '1' and order_id = ("
        "   select order_id from sales.order_items group by 1"
        f"  having count(*) = 2 and max(updated_at) < '{hours[0]}' order by 1 limit 1);"
        " alter table sales.order_items enable trigger user",
    )
    app = {
        "channel": "app",
        "order": '{"a": [1]}',
        "A Blob": r"\xCAFE",
        "copy": "first",
        "_deleted": "no",
        "_batch": "x",
    }
    correct(stack, [moment], order_status="canceled", **app)
    with AirflowApi(stack.settings) as airflow:
        runs = f"/api/v2/dags/{DAG}/dagRuns"
        # A run that is cleared while its first task skips the others would do nothing: Airflow skips them all the same.
        wait_until(lambda: not airflow.active(DAG))
        # The schedule's last run, once more: what it finds has changed in its hour.
        [scheduled] = airflow.call("GET", f"{runs}?run_type=scheduled&order_by=-logical_date&limit=1")[
            "dag_runs"
        ]
        run = f"{runs}/{scheduled['dag_run_id']}"
        last_hour = datetime.fromisoformat(scheduled["data_interval_end"])
        correct(stack, [last_hour - timedelta(minutes=5)], order_status="canceled", channel="shop")
        airflow.call("POST", f"{run}/clear", {"dry_run": False})
        stack.run("backfill", *arguments(hours))
        wait_until(lambda: airflow.call("GET", run)["state"] == "success")
        backfilled = airflow.call("GET", f"{runs}?run_type=backfill&order_by=start_date")["dag_runs"]
        # Side by side, and in turn: whoever came first, the schedule waited for one hour of the past at most.
        ended = airflow.call("GET", run)["end_date"]
        assert backfilled[0]["start_date"] < ended < backfilled[2]["start_date"]
    assert stack.differences(*MODELS) == {}
    # It leaves nothing to the next run to read again, though cleared.
    [(batch, read)] = stack.audit(
        "select batch, published_batch from audit.publications"
        f" where run_id = ''{scheduled['dag_run_id']}'' order by batch desc limit 1"
    )
    assert batch == read
    assert stack.lake(
        'select distinct channel, "order", "a blob", copy from bronze.orders where channel is not null order by 1'
    ) == [("app", '{"a":[1]}', "cafe", "first"), ("shop", None, None, None)]
    # Iceberg has this name for itself.
    assert stack.lake("show columns from bronze.orders like '!_deleted' escape '!'") == []
    windows = stack.audit(
        "select window_start, window_end from audit.runs where kind = ''backfill'' order by 1"
    )
    assert windows == list(pairwise(hours))

    before = stack.published()
    stack.run("trigger", *arguments(hours))
    assert stack.published() == before

    # Each waited for longer than a run takes, and nobody was woken.
    told = stack.settings.home / NOTIFICATIONS
    assert "of backfill" not in (told.read_text() if told.exists() else "")


@pytest.mark.long
@pytest.mark.parametrize("direction", [[], ["--run-backwards"]], ids=["forward", "backwards"])
def test_two_days_by_airflow_itself(stack: Stack, first_run: str, direction: list[str]) -> None:
    """In every fourth hour something changed; the hours between, as at night, have nothing but what is read again."""
    hours = hours_of_the_past(stack, 48)
    correct(stack, [hour + timedelta(minutes=5) for hour in hours[:-1:4]], order_status="canceled")
    stack.run(
        *("exec", "--", "airflow", "backfill", "create", "--dag-id", DAG, *direction),
        *("--from-date", hours[0].isoformat(), "--to-date", hours[-2].isoformat()),
        *("--max-active-runs", "1", "--reprocess-behavior", "completed"),
    )
    with AirflowApi(stack.settings) as airflow:
        path = f"/api/v2/backfills?dag_id={DAG}"
        wait_until(
            lambda: all(each["completed_at"] for each in airflow.call("GET", path)["backfills"]),
            seconds=4 * 3600,
        )
    assert stack.differences(*MODELS) == {}

    before = stack.published()
    stack.run("trigger", *arguments(hours))
    assert stack.published() == before
