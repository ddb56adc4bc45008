"""The history of a run (its attempts, and its graph of tasks), built here from plain values without a database."""

from datetime import UTC, datetime, timedelta

import pytest

from medallion.names import place_of
from medallion.run.history import RunHistory
from medallion.store.attempts import Attempt

ONE, OTHER, SPARK, TEST = "bronze.devices", "bronze.readings", "silver_staging.spark", "silver_staging.test"
MART, GOLD, AUDIT, END = "silver_marts.fact_readings", "gold.readings_by_day", "audit", "end"
STEPS = ((ONE, OTHER), (SPARK,), (TEST,), (MART,), (GOLD,), (AUDIT,), (END,))
BATCH = 7


def at(minute: float) -> datetime:
    return datetime(2018, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)


def attempt(
    task: str, start: float, end: float | None = None, status: str = "success", batch: int = BATCH
) -> Attempt:
    """Return an attempt that ends half a minute after its start, unless `end` or `status` says otherwise."""
    ended = None if status == "running" else at(start + 0.5 if end is None else end)
    return Attempt(task, place_of(task), batch, at(start), ended, status)


def history(*attempts: Attempt, reader: str = AUDIT) -> RunHistory:
    """Return the history of a run whose tasks ran in the order of the DAG.

    `attempts` replace the attempts of their tasks. `reader`: the task that reads the history.
    """
    upstream: dict[str, frozenset[str]] = {}
    before: frozenset[str] = frozenset()
    for step in STEPS:
        upstream |= dict.fromkeys(step, before)
        before |= {*step}
    in_order = {
        task: attempt(task, minute)
        for minute, step in enumerate(STEPS)
        for task in step
        if task in upstream[reader]
    }
    return RunHistory(
        attempts=in_order | {attempt.task_id: attempt for attempt in attempts},
        upstream=upstream,
        before=upstream[reader],
        tasks=frozenset(upstream),
        lease_batch=BATCH,
    )


def without(run: RunHistory, *tasks: str) -> RunHistory:
    """Return the history of a run in which tasks were marked as done before any attempt."""
    rest = {task: attempt for task, attempt in run.attempts.items() if task not in tasks}
    return RunHistory(rest, run.upstream, run.before, run.tasks, run.lease_batch)


def test_run_in_the_order_of_its_dag_has_no_late_writer() -> None:
    run = history()
    assert {task: run.late_writers(task) for task in run.attempts} == {task: [] for task in run.attempts}


@pytest.mark.parametrize(
    ("late", "names"),
    [
        (attempt(SPARK, 10), [SPARK]),
        (attempt(SPARK, 1, end=5), [SPARK]),
        (attempt(SPARK, 1, end=4), []),
        (attempt(SPARK, 10, status="skipped"), []),
        (attempt(SPARK, 1, status="failed"), [SPARK]),
        (attempt(SPARK, 1, status="running"), [SPARK]),
        (attempt(SPARK, 1, status="killed"), [SPARK]),
        (attempt(AUDIT, 10), []),
    ],
    ids=["began later", "ended later", "ended then", "skipped", "failed", "runs", "killed", "downstream"],
)
def test_late_writers_had_not_succeeded_as_the_task_began(late: Attempt, names: list[str]) -> None:
    assert history(late).late_writers(GOLD) == names


def test_late_writers_are_ordered_by_name() -> None:
    assert history(attempt(SPARK, 10), attempt(ONE, 10), attempt(MART, 10)).late_writers(GOLD) == [
        ONE,
        MART,
        SPARK,
    ]


def test_run_in_the_order_of_its_dag_has_read_its_batch() -> None:
    assert history().batch_read_by_all() == BATCH


@pytest.mark.parametrize(
    ("again", "batch"),
    [
        (attempt(OTHER, 10), BATCH - 1),
        (attempt(SPARK, 10), BATCH - 1),
        (attempt(GOLD, 10), BATCH),
        (attempt(OTHER, 10, status="skipped"), BATCH),
        (attempt(OTHER, 10, status="failed"), BATCH - 1),
        (attempt(OTHER, 10, status="running"), BATCH - 1),
        (attempt(GOLD, 10, status="failed"), BATCH - 1),
        (attempt(GOLD, 4, batch=3), 3),
        (attempt(SPARK, 1, batch=3), 3),
        (attempt(OTHER, 0, batch=3), BATCH),
    ],
    ids=[
        "a table captured again", "entities built again", "a gold model built again", "a table skipped again",
        "a capture that failed", "a capture that runs", "a gold model that failed", "a gold model of an earlier batch",
        "entities of an earlier batch", "a capture of an earlier batch",
    ],
)  # fmt: skip
def test_batch_that_all_have_read(again: Attempt, batch: int) -> None:
    assert history(again).batch_read_by_all() == batch


def test_failed_attempt_without_a_batch_counts_for_the_lease() -> None:
    failed = Attempt(GOLD, place_of(GOLD), None, at(4), at(5), "failed")
    assert history(failed).batch_read_by_all() == BATCH - 1


def test_tasks_downstream_of_the_reader_do_not_count() -> None:
    assert history(attempt(END, 0, batch=3)).batch_read_by_all() == BATCH


def test_entities_that_were_never_built_have_read_nothing() -> None:
    assert without(history(), SPARK).batch_read_by_all() == 0


def test_other_task_that_was_marked_as_done_does_not_count() -> None:
    assert without(history(), MART).batch_read_by_all() == BATCH


@pytest.mark.parametrize(
    ("capture", "covers"),
    [
        (attempt(OTHER, 0), True),
        (attempt(OTHER, 10, status="skipped"), True),
        (attempt(OTHER, -1), False),
        (attempt(OTHER, 10, status="failed"), False),
        (attempt(OTHER, 10, status="running"), False),
        (attempt("bronze.removed", 10), True),
        (attempt("bronze.removed", 10, status="failed"), False),
    ],
    ids=["then", "skipped", "before", "failed", "runs", "removed", "removed after it failed"],
)
def test_bronze_covers_the_window_if_every_table_was_captured_after_it(
    capture: Attempt, covers: bool
) -> None:
    assert history(capture).bronze_covers_window(at(0)) is covers


def test_table_that_was_marked_as_done_leaves_a_gap() -> None:
    assert not without(history(), ONE).bronze_covers_window(at(0))


def test_later_layers_do_not_matter_for_the_window() -> None:
    assert history(attempt(GOLD, 10, status="failed")).bronze_covers_window(at(0))


def test_builders_are_the_tasks_before_the_reader_that_write_silver_or_gold() -> None:
    assert set(history(reader=AUDIT).builders()) == {SPARK, MART, GOLD}
    assert set(history(attempt(GOLD, 10), reader=GOLD).builders()) == {SPARK, MART}


def test_builders_include_failed_attempts() -> None:
    failed = attempt(MART, 10, status="failed")
    assert history(failed).builders()[MART] is failed
