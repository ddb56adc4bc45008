"""Staging: Trino loads the changes of each gold table into PostgreSQL."""

import json
from dataclasses import asdict
from typing import Any

from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import TaskGroup

from medallion.engines.leftovers import cancel_on_kill
from medallion.names import Group
from medallion.project.contracts import GoldTable, gold_tables
from medallion.settings import TRINO_CONNECTION, settings
from medallion.tasks.hooks import claim, claim_to_stage

STATEMENTS = ("publish/drop_staging.sql", "publish/stage.sql")


def staging_statement(file: str, table: GoldTable, audited_by: str) -> str:
    """Return the template of a statement of `include/sql` for a gold table.

    The table is written into the template's text. If it were in the task's `params`, the conf of a run could replace it
    and so change the SQL that Trino runs.
    """
    catalogs = dict(lake=settings().lake_catalog, gold=settings().gold_catalog)
    return (
        f"{{%- set table = {as_jinja(asdict(table))} -%}}"
        f"{{%- set catalogs = {as_jinja(catalogs)} -%}}"
        f"{{%- set audited = ti.xcom_pull(task_ids='{audited_by}') -%}}"
        f"{{%- include '{file}' -%}}"
    )


def as_jinja(value: Any) -> str:
    """Return a value as a literal of Jinja.

    It is JSON without escapes for characters: Jinja would not join the two escapes of a character beyond U+FFFF.
    """
    return json.dumps(value, ensure_ascii=False)


def stage_tables(audited_by: str, while_held: bool = False) -> TaskGroup:
    """Return a group of one task per gold table; the task `audited_by` returns the snapshots to compare (Staged).

    `while_held`: stage while publishing is held, too.
    """
    with TaskGroup(Group.STAGE) as stage:
        for table in gold_tables():
            task = SQLExecuteQueryOperator(
                task_id=table.name,
                conn_id=TRINO_CONNECTION,
                sql=[staging_statement(file, table, audited_by) for file in STATEMENTS],
                pre_execute=claim if while_held else claim_to_stage,
            )
            cancel_on_kill(task)
    return stage
