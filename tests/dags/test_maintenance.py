"""The tasks of medallion_maintenance and their order."""

from itertools import pairwise
from typing import Any

from airflow.sdk import DAG

from medallion import names
from medallion.run.window import RunKind


def test_steps_follow_one_another_under_the_lease(maintenance: DAG) -> None:
    steps = [names.BEGIN, names.MEASURE, names.COMPACT, names.EXPIRE]
    assert set(maintenance.task_ids) == {*steps, names.PRUNE, names.END}
    for before, after in pairwise(steps):
        assert after in maintenance.get_task(before).downstream_task_ids
    begin, end = maintenance.get_task(names.BEGIN), maintenance.get_task(names.END)
    assert begin.is_setup and end.is_teardown
    assert end.upstream_task_ids >= {*steps[1:], names.PRUNE}
    assert maintenance.get_task(names.PRUNE).upstream_task_ids == {names.BEGIN}


def test_run_has_no_window(maintenance: DAG) -> None:
    begin: Any = maintenance.get_task(names.BEGIN)
    assert begin.kind is RunKind.MAINTENANCE and not begin.kind.reads_source
