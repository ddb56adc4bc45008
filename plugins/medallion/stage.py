"""Staging: what differs of each gold table, loaded by Trino into PostgreSQL."""

from dataclasses import asdict

from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import TaskGroup

from medallion.engines import cancel_on_kill
from medallion.gold import gold_tables
from medallion.settings import TRINO_CONNECTION


def stage_tables(audited_by: str) -> TaskGroup:
    """A group of one task per gold table; the task `audited_by` says which snapshots are compared."""
    with TaskGroup("stage") as stage:
        for table in gold_tables():
            task = SQLExecuteQueryOperator(
                task_id=table.name,
                conn_id=TRINO_CONNECTION,
                sql=["drop_staging.sql", "stage.sql"],
                params={"table": asdict(table), "audited_by": audited_by},
            )
            cancel_on_kill(task)
    return stage
