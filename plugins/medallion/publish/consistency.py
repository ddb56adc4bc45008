"""Check before publishing: everything in the lake was tested and built from the same input rows."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from medallion.engines.postgres import transaction
from medallion.names import BUILD_ENTITIES, Group, Role, place_of
from medallion.project.manifest import build_tasks
from medallion.run.attempts import run_of
from medallion.run.history import RunHistory, load_history
from medallion.run.state import RunState
from medallion.store.attempts import Attempt, failed_captures, last_builder_above_bronze
from medallion.store.runs import read_run

MODEL_GROUPS = (Group.SILVER_MARTS, Group.GOLD)


def check_consistency(ti: Any, run: RunState) -> None:
    """Check that all models of the run of `ti` were built from the same rows, and that these rows were tested.

    If they were not, the published tables would disagree, and the recorded snapshots would hide the difference from
    later runs. Possible causes:

    - another run has written since, and has not published;
    - a bronze test failed in another run;
    - a model was marked as done by hand, or left out by `up_to`;
    - a task was cleared without its downstream tasks;
    - some tasks were cleared after a deployment, but not all tasks whose code it changed.

    Raises AirflowFailException saying which task of which run to clear.
    """
    with transaction() as cursor:
        history = load_history(cursor, ti)
        captures = failed_captures(cursor, run.published_batch, run_of(ti))
        read = max(history.batch_read_by_all(), run.published_batch)
        builder = last_builder_above_bronze(cursor, read, run_of(ti))
        record = read_run(cursor, run_of(ti))
    for task, run_id in captures:
        # Ignore a table that was removed from the project: this run has no task for it, and builds nothing from it.
        if task in history.before:
            raise AirflowFailException(
                f"{task} of run {run_id} did not succeed, and silver may be built from the rows that it captured:"
                f" clear the task {task} with all downstream in the present run, not in that one"
            )
    if builder:
        run_id, batch = builder
        raise AirflowFailException(
            f"Run {run_id} has written silver or gold (batch {batch}) since this run's models read it, and has not"
            f" published. Clear the failed task of that run, or the tasks of `{Group.SILVER_STAGING}` of this run with"
            " all downstream. The next run publishes everything in any case."
        )
    if record and record.code_since:
        check_rebuilt(history, run.outdated, record.code_since)
    check_models_ran(history)
    check_order_of_writes(history)


def check_rebuilt(history: RunHistory, outdated: Iterable[str], since: datetime) -> None:
    """Raise AirflowFailException if a table made by other code has not been rebuilt since `begin` last ran."""
    builders, tasks = history.builders(), build_tasks()
    for task in sorted({tasks.get(table, BUILD_ENTITIES) for table in outdated} & history.before):
        attempt = builders.get(task)
        if not (attempt and attempt.status == "success" and attempt.start_time >= since):
            raise AirflowFailException(
                f"{task} ran with other code than `begin` saw when it ran again, or was marked as done by hand: clear"
                " the run from `begin`"
            )


def check_models_ran(history: RunHistory) -> None:
    """Raise AirflowFailException if entities were built and a model was not.

    The last attempt of a task decides. If it was killed, its row is still open, and the model counts as not built.
    """
    builders = history.builders()
    # If no entity was built, there were no new rows, and the models were skipped, too.
    if not any(
        attempt.status == "success" and attempt.place.layer not in MODEL_GROUPS
        for attempt in builders.values()
    ):
        return
    for task in sorted(history.tasks):
        place = place_of(task)
        if place.layer in MODEL_GROUPS and place.role is Role.BUILD and not _is_done(builders, task):
            raise AirflowFailException(
                f"{task} was not built from the rows that this run read: it was marked as done by hand, or left out by"
                " `up_to`. Clear it with all downstream"
            )


def check_order_of_writes(history: RunHistory) -> None:
    """Raise AirflowFailException if one task wrote after another had read or tested its table."""
    wrote = {task for task, attempt in history.builders().items() if attempt.is_done}
    tested = {task for task, attempt in history.testers().items() if attempt.is_done}
    for task in sorted(wrote | tested):
        if late := [other for other in history.late_writers(task) if other in wrote]:
            raise AirflowFailException(
                f"{late[0]} wrote after {task} had read its table: clear {late[0]} with all downstream"
            )


def _is_done(builders: Mapping[str, Attempt], task: str) -> bool:
    return task in builders and builders[task].is_done
