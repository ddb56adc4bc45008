"""The tasks that have no work in a run, found when it begins."""

import logging
from typing import Any

from medallion.engines.postgres import transaction
from medallion.names import BRONZE, Group, group_of, lake_table, task_id
from medallion.project.contracts import gold_tables
from medallion.project.manifest import entities, source_tables
from medallion.publish.publish import has_written
from medallion.publish.shapes import tables_in_shape
from medallion.run.attempts import run_of
from medallion.run.pending import tables_with_new_rows, tables_without_work
from medallion.run.source import changed_models
from medallion.run.state import RunState, claim_run
from medallion.store.attempts import record_skipped, tasks_attempted_above

log = logging.getLogger(__name__)


def skip_idle_tasks(ti: Any, publishes: bool = True) -> list[str]:
    """Return the tasks without work in the run of `ti`, and record them as skipped.

    A bronze table is skipped if the source has no row for it in the window, and no task has written to it since it was
    published. A killed attempt counts as having written, because its statement may have committed later. Unpublished
    rows must be tested again, so their table is not skipped. If all tables are skipped and everything in the lake is
    published, a run that `publishes` needs no task between `begin` and `publish`, which moves the watermark.
    """
    run = claim_run(ti)
    with transaction() as cursor:
        attempted = tasks_attempted_above(cursor, run.published_batch)
    busy = attempted | {task_id(Group.BRONZE, model) for model in models_changed_in_window(run)}
    bronze_tasks = {
        lake_table(BRONZE, table.model): task_id(Group.BRONZE, table.model) for table in source_tables()
    }
    candidates = [
        table for table, task in bronze_tasks.items() if task in ti.task.dag.task_ids and task not in busy
    ]
    # This comes last, and only for the candidates, because it is slow: it imports pyiceberg and reads metadata.
    idle = [bronze_tasks[table] for table in tables_without_work(run, candidates)]
    if publishes and idle and len(idle) == len(bronze_tasks) and is_lake_published(run, attempted):
        log.info("Nothing has changed since the last publication: the run only moves the watermark.")
        idle = [task for task in ti.task.dag.task_ids if group_of(task) in {*Group} - {Group.PUBLISH}]
    with transaction() as cursor:
        record_skipped(cursor, run_of(ti), idle)
    return idle


def is_lake_published(run: RunState, attempted: set[str]) -> bool:
    """Return whether the lake holds nothing but what is published, and gold has the shapes of its contracts.

    `attempted`: the tasks that were attempted since the last publication.
    """
    if has_written(attempted):
        return False
    with transaction() as cursor:
        present = tables_in_shape(cursor)
    return present == {table.name for table in gold_tables()} and not tables_with_new_rows(run, entities())


def models_changed_in_window(run: RunState) -> set[str]:
    """Return the bronze models whose source tables have rows in the run's window."""
    if not (run.extract_from and run.extract_to):
        return set()
    return changed_models(run.extract_from, run.extract_to)
