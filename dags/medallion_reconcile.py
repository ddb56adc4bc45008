"""
### Daily reconciliation

Compares what the source has with what bronze knows, table by table, and mends bronze: rows that were deleted at the
source are ended, versions that no window saw are captured. Silver, gold and BI follow with the next hourly run.
Beside it, all dbt tests look at whole tables; hourly they look at what changed.

* **What it found**: `audit.reconciliations`, the counts of each table; `lake.reconciled.<table>` on Trino, the rows.
* **Too many rows are gone** (a source caught while it is reloaded): that table's task fails, its bronze stays as it
  is. If they are gone for good: trigger with `allow_deletes`.
"""

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, TaskGroup, task

from medallion.run import lease
from medallion.run.window import RunKind
from medallion.settings import settings
from medallion.tasks.begin import BeginRunOperator
from medallion.tasks.dbt import dbt_layer, dbt_tests
from medallion.tasks.defaults import DAG_ARGUMENTS

MARTS = "path:models/silver/marts"

with DAG(
    "medallion_reconcile",
    schedule=CronDataIntervalTimetable(settings().reconcile_schedule, timezone="UTC"),
    doc_md=__doc__,
    tags=["medallion", "daily"],
    **DAG_ARGUMENTS,
    params={
        "allow_deletes": Param(
            False, type="boolean", description="Let this run end any share of a table's rows as deleted."
        ),
    },
):
    begin = BeginRunOperator(task_id="begin", kind=RunKind.RECONCILE).as_setup()

    # Each task tests its table whole, too.
    bronze = dbt_layer("bronze", "trino", "path:models/bronze")

    with TaskGroup("tests") as tests:
        dbt_tests("trino", task_id="trino", exclude=f"path:models/bronze {MARTS}")
        dbt_tests("spark", task_id="spark", select=MARTS)

    end = task(lease.release, task_id="end")().as_teardown(setups=begin)

    begin >> [bronze, tests] >> end
