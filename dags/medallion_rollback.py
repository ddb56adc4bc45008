"""
### Roll gold back

Restores PostgreSQL `gold` to an earlier publication and holds publishing: hourly runs still update the
lake, but do not stage or publish. Bronze, silver and the watermark are unchanged.

* **Roll back**: trigger with `to_batch`, the batch of a publication (`audit.publications`, or `make publications`).
* **Resume**: trigger without it. The next hourly run publishes everything since.
"""

from airflow.sdk import DAG, Param, chain, task

from medallion import names
from medallion.publish import rollback
from medallion.run.window import RunKind
from medallion.tasks.alerts import end_run
from medallion.tasks.begin import BeginRunOperator
from medallion.tasks.defaults import DAG_ARGUMENTS
from medallion.tasks.hooks import claim
from medallion.tasks.stage import stage_tables

with DAG(
    names.ROLLBACK_DAG,
    schedule=None,
    doc_md=__doc__,
    tags=[names.DAG_TAG, "by hand"],
    **DAG_ARGUMENTS,
    params={
        "to_batch": Param(
            None,
            type=["null", "integer"],
            description="Batch of the publication to roll back to. Empty: resume publishing.",
        ),
    },
):
    begin = BeginRunOperator(task_id=names.BEGIN, kind=RunKind.ROLLBACK).as_setup()

    chosen = task(rollback.choose_publication, task_id=names.CHOOSE, pre_execute=claim)()

    stage = stage_tables(audited_by=names.CHOOSE, while_held=True)

    restored = task(rollback.restore, task_id=names.RESTORE, pre_execute=claim)(chosen=chosen)

    end = task(end_run, task_id=names.END)().as_teardown(setups=begin)

    chain(begin, chosen, stage, restored)
    [chosen, stage, restored] >> end
