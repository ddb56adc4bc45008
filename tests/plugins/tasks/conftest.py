"""The first task of a run, with a real source and a real gold database."""

from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.utils.types import DagRunType
from pyiceberg.catalog.sql import SqlCatalog

from medallion.tasks.begin import BeginRunOperator
from support.task_instance import Task

from ..conftest import Query, record_present_code

HOUR = timedelta(hours=1)
Begin = Callable[..., dict[str, Any]]


@pytest.fixture
def begin(gold: Query, plant: Query, catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """Run the task `begin` with params, on a source with one row; returns the XComs that it pushed."""
    plant("insert into plant.\"Reading Log\" (reading_id, updated_at) values ('r', '2018-01-03T10:00Z')")
    for name in ("TRINO", "THRIFT", "SPARK"):
        monkeypatch.setenv(f"AIRFLOW_CONN_MEDALLION_{name}", '{"conn_type": "generic"}')
    record_present_code(gold)

    def execute(
        run: str = "a",
        runs: dict[str, str] | None = None,
        hour: datetime | None = None,
        try_number: int = 1,
        **params: Any,
    ) -> dict[str, Any]:
        """`runs`: states of other runs. `hour`: start of a scheduled run's interval; without it the run is manual."""
        ti = Task(run, try_number=try_number, runs=runs or {})
        dag_run = SimpleNamespace(
            run_type=DagRunType("scheduled" if hour else "manual"),
            data_interval_start=hour,
            data_interval_end=hour and hour + HOUR,
        )
        context: Any = {"ti": ti, "params": params, "dag_run": dag_run}
        BeginRunOperator(task_id="begin").execute(context)
        return ti.xcoms

    return execute
