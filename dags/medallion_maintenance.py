"""
### Maintenance of the lake's Iceberg tables and of the records of runs

Hourly commits leave small files, delete files and snapshots. This DAG cleans up once a day. It holds the lease, so that
nothing else writes:

* `measure` reads the metadata of each table and decides what it needs;
* `compact` rewrites the tables that need it, sorted as their models say, and their manifests (Spark);
* `expire` removes old snapshots, and files that no snapshot references (Trino). It keeps the snapshots of every
  publication that gold may be rolled back to, and all later ones. Its log has each table's figures, before and after.
* `prune` deletes records of runs in the schema `audit` that are older than `MEDALLION_AUDIT_RETENTION`,
  Airflow's logs of these DAGs that are older than `MEDALLION_LOG_RETENTION`, and temporary folders of killed dbt tasks.

No row of the lake changes. The DAG may be killed, cleared or repeated at any time: each table's step is one commit, and
may be done twice.
"""

from airflow.sdk import DAG, CronDataIntervalTimetable, chain, task

from medallion import maintenance, names
from medallion.engines.leftovers import cancel_on_kill
from medallion.run.window import RunKind
from medallion.settings import settings
from medallion.tasks.alerts import end_run
from medallion.tasks.begin import BeginRunOperator
from medallion.tasks.defaults import DAG_ARGUMENTS
from medallion.tasks.hooks import claim
from medallion.tasks.spark import compact_tables

with DAG(
    names.MAINTENANCE_DAG,
    schedule=CronDataIntervalTimetable(settings().maintenance_schedule, timezone="UTC"),
    doc_md=__doc__,
    tags=[names.DAG_TAG, "daily"],
    is_paused_upon_creation=False,
    **DAG_ARGUMENTS,
):
    begin = BeginRunOperator(task_id=names.BEGIN, kind=RunKind.MAINTENANCE).as_setup()
    measured = task(maintenance.measure, task_id=names.MEASURE)()
    compacted = compact_tables()
    expired = task(maintenance.expire, task_id=names.EXPIRE, pre_execute=claim)(measured=measured)
    cancel_on_kill(expired.operator)
    pruned = task(maintenance.prune, task_id=names.PRUNE, pre_execute=claim)()
    end = task(end_run, task_id=names.END)().as_teardown(setups=begin)

    chain(begin, measured, compacted, expired)
    begin >> pruned
    # `end` releases the lease, so it follows all tasks that write.
    [measured, compacted, expired, pruned] >> end
