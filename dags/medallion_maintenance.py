"""
### Maintenance of the lake's Iceberg tables

Hourly commits leave small files, delete files and snapshots. Once a day, under the lease, so that nothing else writes:

* `measure` tells what each table consists of and needs;
* `compact` rewrites those that need it, sorted where their model says so, and their manifests (Spark);
* `expire` removes snapshots past their time, but never those of a publication that gold may go back to, nor later ones,
  and files that no snapshot knows (Trino). Its log has a line per table: what it consists of now, and did before.

No row changes. It may be killed, cleared or repeated at any time: each step is one commit, and may be done twice.
"""

from airflow.sdk import DAG, CronDataIntervalTimetable, chain, task

from medallion import maintenance
from medallion.engines.leftovers import cancel_on_kill
from medallion.run import lease
from medallion.run.window import RunKind
from medallion.settings import settings
from medallion.tasks.begin import BeginRunOperator
from medallion.tasks.defaults import DAG_ARGUMENTS
from medallion.tasks.spark import compact_job

with DAG(
    "medallion_maintenance",
    schedule=CronDataIntervalTimetable(settings().maintenance_schedule, timezone="UTC"),
    doc_md=__doc__,
    tags=["medallion", "daily"],
    **DAG_ARGUMENTS,
):
    begin = BeginRunOperator(task_id="begin", kind=RunKind.MAINTENANCE).as_setup()
    measured = task(maintenance.measure, task_id="measure")()
    compacted = compact_job()
    expired = task(maintenance.expire, task_id="expire")(measured=measured)
    cancel_on_kill(expired.operator)
    end = task(lease.release, task_id="end")().as_teardown(setups=begin)

    chain(begin, measured, compacted, expired)
    # Whatever writes ends before the lease is given back.
    [measured, compacted, expired] >> end
