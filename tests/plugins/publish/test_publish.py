"""Publishing, on a real PostgreSQL: all tables in one transaction, never backwards."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from medallion.engines.postgres import transaction
from medallion.project.contracts import gold_tables
from medallion.publish.publish import publish
from medallion.publish.rollback import choose_publication, restore
from medallion.run.attempts import AttemptListener, close_attempt, record_skipped
from medallion.run.lease import hold_lease
from medallion.tasks.begin import request_rebuild
from support.task_instance import Task

from ..conftest import Query, Stage, ran

DAYS = "select day::text, orders, freight from gold.readings_by_day order by day"


def moment(hour: int) -> datetime:
    return datetime(2018, 1, 1, hour, tzinfo=UTC)


Staged = Callable[..., dict[str, Any]]


@pytest.fixture
def staged(stage: Stage) -> Staged:
    """Begin a run, stage `readings_by_day` as {day: orders, or None where the day vanished} and nothing else.

    Returns what the audit of the run says.
    """

    def staged(run: str, days: dict[str, int | None], window: tuple[int, int] = (0, 1)) -> dict[str, Any]:
        start, end = map(moment, window)
        return stage(
            run,
            (start, end),
            readings_by_day=[
                {"day": day, "orders": orders, "freight": "1.50", "_deleted": orders is None}
                for day, orders in days.items()
            ],
        )

    return staged


def days(*rows: tuple[str, int]) -> list[tuple[Any, ...]]:
    return [(day, orders, Decimal("1.50")) for day, orders in rows]


def test_first_publication_is_whole(gold: Query, staged: Staged) -> None:
    counts = publish(Task("a"), staged("a", {"2018-01-01": 3, "2018-01-02": 4}))
    assert gold(DAYS) == days(("2018-01-01", 3), ("2018-01-02", 4))
    assert counts == {table.name: 2 if table.name == "readings_by_day" else 0 for table in gold_tables()}
    assert gold("select run_id, batch from gold.publication") == [("a", 1)]


def test_next_publication_applies_the_difference(gold: Query, staged: Staged) -> None:
    publish(Task("a"), staged("a", {"2018-01-01": 3, "2018-01-02": 4, "2018-01-03": 5}))
    publish(Task("b"), staged("b", {"2018-01-02": 9, "2018-01-03": None, "2018-01-04": 1}))
    assert gold(DAYS) == days(("2018-01-01", 3), ("2018-01-02", 9), ("2018-01-04", 1))
    assert gold(
        "select published_batch, published_snapshots ->> 'gold.readings_by_day' from audit.pipeline"
    ) == [(2, "20")]


def test_whole_publication_drops_what_is_not_staged(gold: Query, staged: Staged) -> None:
    publish(Task("a"), staged("a", {"2018-01-01": 3}))
    publish(Task("b"), staged("b", {"2018-01-02": 4}) | {"base_snapshots": {}})
    assert gold(DAYS) == days(("2018-01-02", 4))


def test_run_whose_first_task_was_marked_as_done_is_refused(gold: Query, staged: Staged) -> None:
    audited = staged("a", {"2018-01-01": 3})
    gold("delete from audit.runs")
    with pytest.raises(AirflowFailException, match="clear it with all downstream"):
        publish(Task("a"), audited)


def test_older_batch_is_skipped(gold: Query, staged: Staged) -> None:
    old = staged("a", {"2018-01-01": 3})
    publish(Task("b"), staged("b", {"2018-01-02": 4}))
    with pytest.raises(AirflowSkipException, match="batch 2 is published already, 1 is older"):
        publish(Task("a"), old)
    assert gold(DAYS) == days(("2018-01-02", 4))


def test_publication_that_came_between_is_refused(gold: Query, staged: Staged) -> None:
    first, second = staged("a", {"2018-01-01": 3}), staged("b", {"2018-01-02": 4})
    publish(Task("a"), first)
    with pytest.raises(AirflowFailException, match="clear its task `audit`"):
        publish(Task("b"), second)
    assert gold(DAYS) == days(("2018-01-01", 3))


def test_error_in_the_middle_changes_nothing(gold: Query, staged: Staged) -> None:
    publish(Task("a"), staged("a", {"2018-01-01": 3}))
    before = gold("select * from audit.pipeline"), gold("select * from gold.publication")
    audited = staged("b", {"2018-01-02": 4})
    # The last table by name can't take its rows.
    gold("insert into staging.devices_by_site_2_1 (seller_id, _deleted) values (null, false)")
    with pytest.raises(psycopg.errors.NotNullViolation):
        publish(Task("b"), audited)
    assert gold(DAYS) == days(("2018-01-01", 3))
    assert gold("select published_batch, watermark from audit.pipeline")[0][0] == before[0][0][2]
    assert gold("select * from gold.publication") == before[1]


def test_column_new_in_the_contract_is_added(gold: Query, staged: Staged) -> None:
    publish(Task("a"), staged("a", {"2018-01-01": 3}))
    gold("alter table gold.readings_by_day drop column freight")
    publish(Task("b"), staged("b", {"2018-01-02": 4}))
    assert gold("select freight from gold.readings_by_day where day = '2018-01-02'") == [(Decimal("1.50"),)]


def test_staging_is_dropped_also_that_of_other_runs(gold: Query, staged: Staged) -> None:
    staged("killed", {"2018-01-01": 3})
    gold("create table staging.invoices_2024 ()")  # somebody else's
    gold("create table staging.tmp_trino_05cae137_7ee766c9 ()")  # which Trino was filling as it was killed
    publish(Task("b"), staged("b", {}))
    assert gold("select tablename from pg_tables where schemaname = 'staging'") == [("invoices_2024",)]


@pytest.mark.parametrize(
    ("window", "watermark"),
    [((1, 3), 3), ((2, 4), 4), ((3, 5), 2), ((0, 1), 2)],
    ids=["overlaps", "joins up", "leaves a gap", "is covered"],
)
def test_watermark_moves_where_the_window_joins_up(
    gold: Query, staged: Staged, window: tuple[int, int], watermark: int
) -> None:
    gold("update audit.pipeline set watermark = %s", (moment(2),))
    publish(Task("a"), staged("a", {}, window))
    assert gold("select watermark from audit.pipeline") == [(moment(watermark),)]
    assert gold("select window_end from gold.publication") == [(moment(watermark),)]


@pytest.mark.parametrize("after", ["the window", "the window was found anew", "it failed"])
def test_watermark_waits_for_what_bronze_did_not_take(gold: Query, staged: Staged, after: str) -> None:
    gold("update audit.pipeline set watermark = %s", (moment(2),))
    audited = staged("a", {}, (1, 3))
    bronze = Task("a", task_id="bronze.readings")
    AttemptListener().on_task_instance_running(None, bronze)
    if after == "it failed":  # and was marked as done by hand, which nobody tells the audit
        AttemptListener().on_task_instance_failed(None, bronze, ValueError())
    else:
        close_attempt({"ti": bronze})
    if after == "the window was found anew":
        gold("update audit.runs set resolved_at = clock_timestamp()")
    publish(Task("a", task_id="publish"), audited)
    watermark = moment(3 if after == "the window" else 2)
    assert gold("select watermark from audit.pipeline") == [(watermark,)]
    # A whole run takes it in.
    audited = staged("b", {}, (2, 4))
    ran(Task("b", task_id="bronze.readings"))
    publish(Task("b", task_id="publish"), audited)
    assert gold("select watermark from audit.pipeline") == [(moment(4),)]


def test_rebuild_is_asked_for_until_all_was_made_under_it(gold: Query, staged: Staged) -> None:
    audited = staged("a", {})
    gold("update audit.pipeline set lease_batch = 7")
    request_rebuild("silver")
    publish(Task("a"), audited)
    assert gold("select rebuild from audit.pipeline") == [("silver",)]
    gold("update audit.pipeline set last_batch = 7, lease_run_id = null, lease_dag_id = null")
    publish(Task("b"), staged("b", {}))
    assert gold("select rebuild from audit.pipeline") == [("none",)]


def test_published_batch_is_what_every_task_had_read(gold: Query, staged: Staged) -> None:
    """A task that ran under an earlier batch may not have seen the later one's rows."""
    early = Task("a", task_id="gold.readings_by_day")
    hold_lease(early)
    ran(early)
    gold("update audit.pipeline set lease_dag_id = null, lease_run_id = null")
    publish(Task("a"), staged("a", {}))
    assert gold("select lease_batch, published_batch from audit.pipeline") == [(2, 1)]


def test_task_that_publishing_does_not_follow_holds_nothing_back(gold: Query, staged: Staged) -> None:
    """Of a run that was cleared whole the last task is as it was: it comes after."""
    end = Task("a", task_id="end")
    hold_lease(end)
    ran(end)
    gold("update audit.pipeline set lease_dag_id = null, lease_run_id = null")
    publish(Task("a", task_id="publish", bystanders=("publish", "end")), staged("a", {}))
    assert gold("select lease_batch, published_batch from audit.pipeline") == [(2, 2)]


def test_task_that_takes_the_lease_itself_has_its_batch(gold: Query, staged: Staged) -> None:
    audit = Task("a", task_id="audit")
    AttemptListener().on_task_instance_running(None, audit)
    assert gold("select batch from audit.data_pipeline_runs") == [(None,)]
    hold_lease(audit)
    close_attempt({"ti": audit})
    publish(Task("a", task_id="publish"), staged("a", {}))
    assert gold("select published_batch from audit.pipeline") == [(1,)]


def test_task_that_holds_the_lease_holds_publishing_back_before_it_is_told(
    gold: Query, staged: Staged
) -> None:
    """Airflow renders a task, which takes the lease, before it tells that the task runs."""
    run = staged("a", {})
    ran(Task("a", task_id="bronze.readings"))
    hold_lease(Task("a", task_id="bronze.readings", try_number=2))
    publish(Task("a", task_id="publish"), run)
    assert gold("select published_batch from audit.pipeline") == [(0,)]


@pytest.mark.parametrize(("again", "read"), [("bronze.readings", 0), ("gold.readings_by_day", 1)])
def test_task_that_was_cleared_alone_is_read_by_the_next_run(
    gold: Query, staged: Staged, again: str, read: int
) -> None:
    """What it wrote under the batch of the run, after the tasks that follow it had read."""
    run = staged("a", {})
    for task, number in (("bronze.readings", 1), ("gold.readings_by_day", 1), (again, 2)):
        ran(Task("a", task_id=task, try_number=number))
    publish(Task("a", task_id="publish", follows={"gold.readings_by_day": {"bronze.readings"}}), run)
    assert gold("select published_batch from audit.pipeline") == [(read,)]


def test_table_that_is_skipped_again_as_the_run_is_cleared_bounds_nothing(
    gold: Query, staged: Staged
) -> None:
    """Clearing a task has its run begin again, which finds the table without a row once more."""
    run = staged("a", {})
    ran(Task("a", task_id="silver_staging.spark"))
    with transaction() as cursor:
        record_skipped(cursor, Task("a"), ["bronze.devices"])
    publish(Task("a", task_id="publish", follows={"silver_staging.spark": {"bronze.devices"}}), run)
    assert gold("select published_batch from audit.pipeline") == [(1,)]


@pytest.mark.parametrize("ended", [True, False], ids=["failed", "still runs"])
def test_task_that_was_cleared_and_has_not_ended_well_is_read_by_the_next_run(
    gold: Query, staged: Staged, ended: bool
) -> None:
    """What it has written, or will, under the batch of the run."""
    run = staged("a", {})
    ran(Task("a", task_id="bronze.readings"))
    again = Task("a", task_id="bronze.readings", try_number=2)
    AttemptListener().on_task_instance_running(None, again)
    if ended:
        AttemptListener().on_task_instance_failed(None, again, ValueError("a test failed"))
    publish(Task("a", task_id="publish"), run)
    assert gold("select published_batch from audit.pipeline") == [(0,)]


def test_tasks_that_were_marked_as_done_before_any_try_did_nothing(gold: Query, staged: Staged) -> None:
    gold("update audit.pipeline set watermark = %s", (moment(2),))
    bronze, job = "bronze.geolocation", "silver_staging.spark"
    publish(Task("a", task_id="publish", task_ids=(bronze, job)), staged("a", {}, (1, 3)))
    assert gold("select published_batch, watermark from audit.pipeline") == [(0, moment(2))]
    audited = staged("b", {}, (1, 3))
    for task_id in (bronze, job):
        ran(Task("b", task_id=task_id))
    publish(Task("b", task_id="publish", task_ids=(bronze, job)), audited)
    assert gold("select published_batch, watermark from audit.pipeline") == [(2, moment(3))]


def test_what_was_staged_and_is_gone_is_to_be_staged_again(gold: Query, staged: Staged) -> None:
    """Where it was rolled back to the publication that the run was audited after, all staging was dropped."""
    audited = staged("a", {"2018-01-01": 3})
    with pytest.raises(AirflowFailException, match="audited again meanwhile"):
        publish(Task("a"), audited | {"staging": "1_2"})
    gold("drop table staging.readings_by_day_1_1")
    with pytest.raises(AirflowFailException, match="clear the tasks of `stage` with all downstream"):
        publish(Task("a"), audited)


def test_difference_alone_makes_no_table(gold: Query, staged: Staged) -> None:
    publish(Task("a"), staged("a", {"2018-01-01": 3}))
    audited = staged("b", {"2018-01-02": 4})
    gold("drop table gold.readings_by_day")
    with pytest.raises(
        AirflowFailException, match=r"gold\.readings_by_day is gone .* clear its task `audit`"
    ):
        publish(Task("b"), audited)
    publish(Task("b"), audited | {"base_snapshots": {}})
    assert gold(DAYS) == days(("2018-01-02", 4))


def rolled_back(staged: Staged, days: dict[str, int | None], to_batch: int, run: str = "back") -> None:
    """Restore the publication by batch `to_batch`, whose days these were."""
    chosen = staged(run, days) | {
        "base_snapshots": {},
        "to_batch": to_batch,
        "published_batch": to_batch,
        "published_snapshots": {"gold.readings_by_day": to_batch * 10},
    }
    restore(Task(run, dag_id="medallion_rollback"), chosen)


def test_roll_back_restores_the_publication_and_holds_the_next(gold: Query, staged: Staged) -> None:
    publish(Task("a"), staged("a", {"2018-01-01": 3, "2018-01-02": 4}, (0, 1)))
    first = gold("select * from gold.publication")
    gold("update audit.pipeline set watermark = %s", (moment(1),))
    publish(Task("b"), staged("b", {"2018-01-01": None, "2018-01-03": 5}, (1, 2)))

    rolled_back(staged, {"2018-01-01": 3, "2018-01-02": 4}, to_batch=1)
    assert gold(DAYS) == days(("2018-01-01", 3), ("2018-01-02", 4))
    assert gold("select * from gold.publication") == first
    assert gold("select published_batch, published_snapshots, watermark from audit.pipeline") == [
        (1, {"gold.readings_by_day": 10}, moment(2))
    ]
    with pytest.raises(AirflowSkipException, match="held since gold was rolled back by back: resume it"):
        publish(Task("c"), staged("c", {"2018-01-04": 6}))
    assert gold(DAYS) == days(("2018-01-01", 3), ("2018-01-02", 4))

    with pytest.raises(AirflowSkipException, match="publishing goes on"):
        choose_publication(Task("resume", dag_id="medallion_rollback"), {"to_batch": None})
    publish(Task("d"), staged("d", {"2018-01-01": None, "2018-01-03": 5}))
    assert gold(DAYS) == days(("2018-01-02", 4), ("2018-01-03", 5))


def test_second_try_of_a_roll_back_finds_it_done(gold: Query, staged: Staged) -> None:
    publish(Task("a"), staged("a", {"2018-01-01": 3}))
    chosen = staged("back", {"2018-01-01": 3}) | {
        "base_snapshots": {}, "to_batch": 1, "published_batch": 1, "published_snapshots": {}
    }  # fmt: skip
    task = Task("back", dag_id="medallion_rollback")
    assert restore(task, chosen) == restore(task, chosen)
    assert gold(DAYS) == days(("2018-01-01", 3))


@pytest.mark.usefixtures("catalog")
def test_table_that_is_no_model_stands_in_no_way_back(gold: Query, staged: Staged) -> None:
    publish(Task("a"), staged("a", {"2018-01-01": 3}))
    gold("""update audit.publications set snapshots = '{"gold.gone": 1, "silver.gone": 2}'""")
    chosen = choose_publication(Task("back", dag_id="medallion_rollback"), {"to_batch": 1})
    assert (chosen["columns"], chosen["published_snapshots"]) == ({}, chosen["snapshots"])


def test_unknown_publication_is_told(gold: Query, staged: Staged) -> None:
    publish(Task("a"), staged("a", {"2018-01-01": 3}))
    with pytest.raises(AirflowFailException, match="no publication by batch 7; the latest are 1"):
        choose_publication(Task("back", dag_id="medallion_rollback"), {"to_batch": 7})
