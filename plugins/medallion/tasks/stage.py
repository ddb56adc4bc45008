"""Staging: what differs of each gold table, loaded by Trino into PostgreSQL."""

import json
from dataclasses import asdict

from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import TaskGroup

from medallion.engines.leftovers import cancel_on_kill
from medallion.project.contracts import GoldTable, gold_tables
from medallion.settings import TRINO_CONNECTION


def staging_statement(file: str, table: GoldTable, audited_by: str) -> str:
    """Return the template of one statement of `include/sql` for a gold table.

    The table is written into the template's text. As a task's `params` it could be replaced by the conf of a run, and
    with it the SQL that Trino runs.
    """
    return (
        f"{{%- set table = {json.dumps(asdict(table))} -%}}"
        f"{{%- set audited = ti.xcom_pull(task_ids='{audited_by}') -%}}"
        f"{{%- include '{file}' -%}}"
    )


def stage_tables(audited_by: str) -> TaskGroup:
    """A group of one task per gold table; the task `audited_by` says which snapshots are compared."""
    with TaskGroup("stage") as stage:
        for table in gold_tables():
            task = SQLExecuteQueryOperator(
                task_id=table.name,
                conn_id=TRINO_CONNECTION,
                sql=[
                    staging_statement(file, table, audited_by) for file in ("drop_staging.sql", "stage.sql")
                ],
            )
            cancel_on_kill(task)
    return stage
