"""
### Daily reconciliation

Compares the source with bronze, table by table, and corrects bronze: a row that was deleted at the source gets a delete
version, and versions that no window saw are captured. Silver, gold and BI follow with the next hourly run. The DAG also
runs all dbt tests over whole tables; an hourly run tests only the rows that changed.

* **Findings**: the counts of each table are in `audit.reconciliations`, the rows in `reconciled.<table>` of the lake.
* **Too many rows are missing** (for example while the source is being reloaded): the table's task fails and its bronze
  table is unchanged. If the rows are gone for good, trigger with `allow_deletes`.
"""

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, TaskGroup, task

from medallion import names
from medallion.names import Group
from medallion.run.window import RunKind
from medallion.settings import settings
from medallion.tasks.alerts import end_run
from medallion.tasks.begin import BeginRunOperator
from medallion.tasks.dbt import dbt_models, whole_table_tests
from medallion.tasks.defaults import DAG_ARGUMENTS

with DAG(
    names.RECONCILE_DAG,
    schedule=CronDataIntervalTimetable(settings().reconcile_schedule, timezone="UTC"),
    doc_md=__doc__,
    tags=[names.DAG_TAG, "daily"],
    is_paused_upon_creation=False,
    **DAG_ARGUMENTS,
    params={
        "allow_deletes": Param(
            False, type="boolean", description="Accept any share of missing rows as deleted, in this run."
        ),
    },
):
    begin = BeginRunOperator(task_id=names.BEGIN, kind=RunKind.RECONCILE).as_setup()

    # Each task tests its whole table, too.
    bronze = dbt_models(Group.BRONZE)

    with TaskGroup(names.TESTS_GROUP) as tests:
        whole_table_tests()

    end = task(end_run, task_id=names.END)().as_teardown(setups=begin)

    begin >> [bronze, tests] >> end
