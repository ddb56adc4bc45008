"""
### Roll gold back

Makes PostgreSQL `gold` what an earlier publication made of it, and holds publishing: hourly runs go on through the
lake, and skip their task `publish`. Bronze, silver and the watermark stay as they are.

* **Roll back**: trigger with `to_batch`, the batch of a publication (`audit.publications`, or `make publications`).
* **Resume**: trigger without. The next hourly run publishes everything since.
"""

from airflow.sdk import DAG, Param, chain, task

from medallion.publish import rollback
from medallion.run import lease
from medallion.run.window import RunKind
from medallion.settings import SQL
from medallion.tasks.begin import BeginRunOperator
from medallion.tasks.defaults import DAG_ARGUMENTS
from medallion.tasks.stage import stage_tables

with DAG(
    "medallion_rollback",
    schedule=None,
    doc_md=__doc__,
    tags=["medallion", "by hand"],
    **DAG_ARGUMENTS,
    template_searchpath=[str(SQL)],
    params={
        "to_batch": Param(
            None,
            type=["null", "integer"],
            description="Batch of the publication to go back to; empty: let publishing go on.",
        ),
    },
):
    begin = BeginRunOperator(task_id="begin", kind=RunKind.ROLLBACK).as_setup()

    chosen = task(rollback.choose_publication, task_id="choose")()

    stage = stage_tables("choose")

    restored = task(rollback.restore, task_id="restore")(chosen=chosen)

    end = task(lease.release, task_id="end")().as_teardown(setups=begin)

    chain(begin, chosen, stage, restored)
    [chosen, stage, restored] >> end
