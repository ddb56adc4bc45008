"""Publishing, on a real PostgreSQL: all tables in one transaction, and never an older batch after a newer one."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from medallion.engines.postgres import transaction
from medallion.project.contracts import gold_tables
from medallion.run.attempts import AttemptListener, run_of
from medallion.run.lease import hold_lease
from medallion.store.attempts import record_skipped
from medallion.store.pipeline import request_rebuild
from support.task_instance import ROLLBACK, Task

from ..conftest import Query, Stage, choose_publication, forget_lease, publish, record_success, restore

DAYS = "select day::text, readings, total from gold.readings_by_day order by day"


def moment(hour: int) -> datetime:
    return datetime(2018, 1, 1, hour, tzinfo=UTC)


def publisher(run: str) -> Task:
    return Task(run, "publish")


Staged = Callable[..., Any]


@pytest.fixture
def staged(stage: Stage) -> Staged:
    """Simulate a run up to its staging; returns the result that its task `audit` would have.

    `days`: the staged rows of `readings_by_day`, day -> readings, or None if the day is to be deleted.
    """

    def staged(
        run: str, days: dict[str, int | None], window: tuple[int, int] = (0, 1), without: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        start, end = map(moment, window)
        return stage(
            run,
            (start, end),
            without,
            readings_by_day=[
                {"day": day, "readings": readings, "total": "1.50", "_deleted": readings is None}
                for day, readings in days.items()
            ],
        )

    return staged


def days(*rows: tuple[str, int]) -> list[tuple[Any, ...]]:
    return [(day, readings, Decimal("1.50")) for day, readings in rows]


def test_first_publication_is_whole(gold: Query, staged: Staged) -> None:
    counts = publish(publisher("a"), staged("a", {"2018-01-01": 3, "2018-01-02": 4}))
    assert gold(DAYS) == days(("2018-01-01", 3), ("2018-01-02", 4))
    assert counts == {table.name: 2 if table.name == "readings_by_day" else 0 for table in gold_tables()}
    assert gold("select run_id, batch from gold.publication") == [("a", 1)]


def test_next_publication_applies_the_difference(gold: Query, staged: Staged) -> None:
    publish(publisher("a"), staged("a", {"2018-01-01": 3, "2018-01-02": 4, "2018-01-03": 5}))
    publish(publisher("b"), staged("b", {"2018-01-02": 9, "2018-01-03": None, "2018-01-04": 1}))
    assert gold(DAYS) == days(("2018-01-01", 3), ("2018-01-02", 9), ("2018-01-04", 1))
    assert gold(
        "select published_batch, published_snapshots ->> 'gold.readings_by_day' from audit.pipeline"
    ) == [(2, "20")]


def test_whole_publication_drops_what_is_not_staged(gold: Query, staged: Staged) -> None:
    publish(publisher("a"), staged("a", {"2018-01-01": 3}))
    publish(publisher("b"), staged("b", {"2018-01-02": 4}) | {"base_snapshots": {}})
    assert gold(DAYS) == days(("2018-01-02", 4))


def test_run_whose_first_task_was_marked_as_done_is_refused(gold: Query, staged: Staged) -> None:
    audited = staged("a", {"2018-01-01": 3})
    gold("delete from audit.runs")
    with pytest.raises(AirflowFailException, match="clear it with all downstream"):
        publish(publisher("a"), audited)


def test_older_batch_is_skipped(gold: Query, staged: Staged) -> None:
    old = staged("a", {"2018-01-01": 3})
    publish(publisher("b"), staged("b", {"2018-01-02": 4}))
    with pytest.raises(AirflowSkipException, match="Batch 2 is published already, 1 is older"):
        publish(publisher("a"), old)
    assert gold(DAYS) == days(("2018-01-02", 4))


def test_publication_that_came_between_is_refused(gold: Query, staged: Staged) -> None:
    first, second = staged("a", {"2018-01-01": 3}), staged("b", {"2018-01-02": 4})
    publish(publisher("a"), first)
    with pytest.raises(AirflowFailException, match="clear its task `audit`"):
        publish(publisher("b"), second)
    assert gold(DAYS) == days(("2018-01-01", 3))


def test_error_in_the_middle_changes_nothing(gold: Query, staged: Staged) -> None:
    publish(publisher("a"), staged("a", {"2018-01-01": 3}))
    before = gold("select * from audit.pipeline"), gold("select * from gold.publication")
    audited = staged("b", {"2018-01-02": 4})
    # The staged row of the last table (by name) breaks a not-null rule.
    gold("insert into staging.readings_by_device_month_2_1 (device_id, _deleted) values (null, false)")
    with pytest.raises(psycopg.errors.NotNullViolation):
        publish(publisher("b"), audited)
    assert gold(DAYS) == days(("2018-01-01", 3))
    assert gold("select published_batch, watermark from audit.pipeline")[0][0] == before[0][0][2]
    assert gold("select * from gold.publication") == before[1]


def test_column_new_in_the_contract_is_filled_in_every_row(gold: Query, staged: Staged) -> None:
    publish(publisher("a"), staged("a", {"2018-01-01": 3}))
    gold("alter table gold.readings_by_day drop column total")
    publish(publisher("b"), staged("b", {"2018-01-01": 3, "2018-01-02": 4}) | {"base_snapshots": {}})
    assert gold("select count(*) from gold.readings_by_day where total = 1.50") == [(2,)]


def test_staging_is_dropped_also_that_of_other_runs(gold: Query, staged: Staged) -> None:
    staged("killed", {"2018-01-01": 3})
    gold("create table staging.budget_2024 ()")  # another program's
    gold("create table staging.tmp_trino_05cae137_7ee766c9 ()")  # left by a killed Trino
    publish(publisher("b"), staged("b", {}))
    assert gold("select tablename from pg_tables where schemaname = 'staging'") == [("budget_2024",)]


@pytest.mark.parametrize(
    ("window", "watermark"),
    [((1, 3), 3), ((2, 4), 4), ((3, 5), 2), ((0, 1), 2)],
    ids=["overlaps", "joins up", "leaves a gap", "is covered"],
)
def test_watermark_moves_where_the_window_joins_up(
    gold: Query, staged: Staged, window: tuple[int, int], watermark: int
) -> None:
    gold("update audit.pipeline set watermark = %s", (moment(2),))
    publish(publisher("a"), staged("a", {}, window))
    assert gold("select watermark from audit.pipeline") == [(moment(watermark),)]
    assert gold("select window_end from gold.publication") == [(moment(watermark),)]


@pytest.mark.parametrize("after", ["the window", "the window was resolved again", "it failed"])
def test_watermark_waits_for_what_bronze_did_not_take(gold: Query, staged: Staged, after: str) -> None:
    gold("update audit.pipeline set watermark = %s", (moment(2),))
    audited = staged("a", {}, (1, 3))
    if after == "it failed":  # and then somebody marked it as done, which leaves no row
        again = Task("a", "bronze.readings", 2)
        AttemptListener().on_task_instance_running(None, again)
        AttemptListener().on_task_instance_failed(None, again, ValueError())
    if after == "the window was resolved again":
        gold("update audit.runs set resolved_at = clock_timestamp()")
    publish(publisher("a"), audited)
    watermark = moment(3 if after == "the window" else 2)
    assert gold("select watermark from audit.pipeline") == [(watermark,)]
    # The next whole run covers the window.
    publish(publisher("b"), staged("b", {}, (2, 4)))
    assert gold("select watermark from audit.pipeline") == [(moment(4),)]


def test_rebuild_is_requested_until_everything_was_built_under_it(gold: Query, staged: Staged) -> None:
    audited = staged("a", {})
    gold("update audit.pipeline set lease_batch = 7")
    with transaction() as cursor:
        request_rebuild(cursor, "silver")
    publish(publisher("a"), audited)
    assert gold("select rebuild from audit.pipeline") == [("silver",)]
    forget_lease(gold)
    gold("update audit.pipeline set last_batch = 7")
    publish(publisher("b"), staged("b", {}))
    assert gold("select rebuild from audit.pipeline") == [("none",)]


def test_published_batch_is_what_every_task_had_read(gold: Query, staged: Staged) -> None:
    """A task that ran under an earlier batch may not have read the rows of the later batch."""
    early = ("bronze.devices", "bronze.readings", "silver_staging.spark", "silver_staging.test")
    hold_lease(Task("a", early[0]))
    record_success(*(Task("a", task) for task in early))
    forget_lease(gold)
    publish(publisher("a"), staged("a", {}, without=early))
    assert gold("select lease_batch, published_batch from audit.pipeline") == [(2, 1)]


def test_task_downstream_of_publishing_holds_nothing_back(gold: Query, staged: Staged) -> None:
    """After a whole run was cleared, the recorded attempts of its last tasks are still those from before."""
    end = Task("a", "end")
    hold_lease(end)
    record_success(end)
    forget_lease(gold)
    publish(publisher("a"), staged("a", {}))
    assert gold("select lease_batch, published_batch from audit.pipeline") == [(2, 2)]


def test_task_that_holds_the_lease_holds_publishing_back_before_it_is_reported(
    gold: Query, staged: Staged
) -> None:
    """A task claims the run before Airflow reports that it runs."""
    audited = staged("a", {})
    hold_lease(Task("a", "bronze.readings", 2))
    publish(publisher("a"), audited)
    assert gold("select published_batch from audit.pipeline") == [(0,)]


def test_table_that_is_skipped_again_as_the_run_is_cleared_bounds_nothing(
    gold: Query, staged: Staged
) -> None:
    """A cleared run begins again, finds that the table still has no row in the window, and skips it again."""
    audited = staged("a", {}, without=("bronze.devices",))
    with transaction() as cursor:
        record_skipped(cursor, run_of(Task("a")), ["bronze.devices"])
    publish(publisher("a"), audited)
    assert gold("select published_batch from audit.pipeline") == [(1,)]


def test_tasks_that_were_marked_as_done_before_any_attempt_did_nothing(gold: Query, staged: Staged) -> None:
    gold("update audit.pipeline set watermark = %s", (moment(2),))
    audited = staged("a", {}, (1, 3), without=("bronze.devices", "silver_staging.spark"))
    publish(publisher("a"), audited)
    assert gold("select published_batch, watermark from audit.pipeline") == [(0, moment(2))]
    publish(publisher("b"), staged("b", {}, (1, 3)))
    assert gold("select published_batch, watermark from audit.pipeline") == [(2, moment(3))]


def test_staged_rows_that_are_gone_must_be_staged_again(gold: Query, staged: Staged) -> None:
    """A roll-back drops all staged rows, also those of a run that was audited before it."""
    audited = staged("a", {"2018-01-01": 3})
    with pytest.raises(AirflowFailException, match="audited again in the meantime"):
        publish(publisher("a"), audited | {"staging": "1_2"})
    gold("drop table staging.readings_by_day_1_1")
    with pytest.raises(AirflowFailException, match="Clear the tasks of `stage` with all downstream"):
        publish(publisher("a"), audited)


def test_difference_creates_no_table(gold: Query, staged: Staged) -> None:
    publish(publisher("a"), staged("a", {"2018-01-01": 3}))
    audited = staged("b", {"2018-01-02": 4})
    gold("drop table gold.readings_by_day")
    with pytest.raises(
        AirflowFailException, match=r"gold\.readings_by_day is gone .* clear its task `audit`"
    ):
        publish(publisher("b"), audited)
    publish(publisher("b"), audited | {"base_snapshots": {}})
    assert gold(DAYS) == days(("2018-01-02", 4))


def roll_back(staged: Staged, days: dict[str, int | None], to_batch: int, run: str = "back") -> None:
    """Roll gold back to the publication of batch `to_batch`, which had these days."""
    chosen: Any = staged(run, days) | {
        "base_snapshots": {},
        "to_batch": to_batch,
        "published_batch": to_batch,
        "published_snapshots": {"gold.readings_by_day": to_batch * 10},
    }
    restore(Task(run, dag=ROLLBACK), chosen)


def test_roll_back_restores_the_publication_and_holds_the_next(gold: Query, staged: Staged) -> None:
    publish(publisher("a"), staged("a", {"2018-01-01": 3, "2018-01-02": 4}, (0, 1)))
    first = gold("select * from gold.publication")
    gold("update audit.pipeline set watermark = %s", (moment(1),))
    publish(publisher("b"), staged("b", {"2018-01-01": None, "2018-01-03": 5}, (1, 2)))

    roll_back(staged, {"2018-01-01": 3, "2018-01-02": 4}, to_batch=1)
    assert gold(DAYS) == days(("2018-01-01", 3), ("2018-01-02", 4))
    assert gold("select * from gold.publication") == first
    assert gold("select published_batch, published_snapshots, watermark from audit.pipeline") == [
        (1, {"gold.readings_by_day": 10}, moment(2))
    ]
    with pytest.raises(AirflowSkipException, match=r"held since gold was rolled back by back\. Resume it"):
        publish(publisher("c"), staged("c", {"2018-01-04": 6}))
    assert gold(DAYS) == days(("2018-01-01", 3), ("2018-01-02", 4))

    with pytest.raises(AirflowSkipException, match="Publishing is resumed"):
        choose_publication(Task("resume", dag=ROLLBACK), {"to_batch": None})
    publish(publisher("d"), staged("d", {"2018-01-01": None, "2018-01-03": 5}))
    assert gold(DAYS) == days(("2018-01-02", 4), ("2018-01-03", 5))


def test_second_attempt_of_a_roll_back_finds_it_done(gold: Query, staged: Staged) -> None:
    publish(publisher("a"), staged("a", {"2018-01-01": 3}))
    chosen = staged("back", {"2018-01-01": 3}) | {
        "base_snapshots": {}, "to_batch": 1, "published_batch": 1, "published_snapshots": {}
    }  # fmt: skip
    task = Task("back", dag=ROLLBACK)
    assert restore(task, chosen) == restore(task, chosen)
    assert gold(DAYS) == days(("2018-01-01", 3))


def test_roll_back_to_rows_that_break_a_later_key_changes_nothing(gold: Query, staged: Staged) -> None:
    publish(publisher("a"), staged("a", {"2018-01-01": 3}))
    chosen = staged("back", {"2018-01-02": 4}) | {"base_snapshots": {}, "to_batch": 1}
    staging = f'staging."readings_by_day_{chosen["staging"]}"'
    gold(f"insert into {staging} select * from {staging}")
    with pytest.raises(AirflowFailException, match=r"batch 1 has rows that break the key .*a second time"):
        restore(Task("back", dag=ROLLBACK), chosen)
    assert gold(DAYS) == days(("2018-01-01", 3))


@pytest.mark.usefixtures("catalog")
def test_table_without_a_model_blocks_no_roll_back_and_is_named(
    gold: Query, staged: Staged, caplog: pytest.LogCaptureFixture
) -> None:
    publish(publisher("a"), staged("a", {"2018-01-01": 3}))
    gold("""update audit.publications set snapshots = '{"gold.gone": 1, "silver.gone": 2}'""")
    chosen = choose_publication(Task("back", dag=ROLLBACK), {"to_batch": 1})
    assert (chosen["columns"], chosen["published_snapshots"]) == ({}, chosen["snapshots"])
    assert "gold.gone left the project after batch 1 and can't be restored" in caplog.text
    assert "gold.readings_by_day, gold.readings_by_device_month. These tables have no rows" in caplog.text


def test_unknown_publication_is_reported(gold: Query, staged: Staged) -> None:
    publish(publisher("a"), staged("a", {"2018-01-01": 3}))
    with pytest.raises(AirflowFailException, match="no publication by batch 7; the latest are 1"):
        choose_publication(Task("back", dag=ROLLBACK), {"to_batch": 7})
