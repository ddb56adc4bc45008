"""
### Hourly medallion ETL

Source (PostgreSQL) → bronze (Trino) → silver (Spark) → gold (Trino) → PostgreSQL `gold`.

A run takes the lease, resolves its window, captures the changes of the source in that window, rebuilds the rows that
depend on them, tests them, and publishes all gold tables in one transaction. Any run may be repeated, cleared or
killed.

* **Scheduled**: everything since the last published window; after an outage one run catches up.
* **Any range in one run**: trigger with `window_start` and `window_end`.
* **Hour by hour**: a backfill from the UI or `airflow backfill create`.
"""

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, TaskGroup, chain, task

from medallion import names
from medallion.names import Group
from medallion.publish import audit, publish
from medallion.settings import settings
from medallion.tasks.alerts import deadline, end_run
from medallion.tasks.assets import GOLD_ASSET
from medallion.tasks.begin import BeginRunOperator
from medallion.tasks.dbt import dbt_models, entity_tests, source_freshness
from medallion.tasks.defaults import DAG_ARGUMENTS
from medallion.tasks.hooks import claim
from medallion.tasks.spark import build_entities
from medallion.tasks.stage import stage_tables

with DAG(
    names.HOURLY_DAG,
    schedule=CronDataIntervalTimetable(settings().schedule, timezone="UTC"),
    deadline=deadline(),
    doc_md=__doc__,
    tags=[names.DAG_TAG, "hourly"],
    **DAG_ARGUMENTS,
    params={
        "window_start": Param(
            None,
            type=["null", "string"],
            description="Start of the window: ISO 8601, UTC unless it has an offset. Give both, or neither.",
        ),
        "window_end": Param(
            None, type=["null", "string"], description="End of the window, which excludes this moment."
        ),
        "rebuild": Param(
            names.NO_REBUILD,
            enum=[names.NO_REBUILD, names.GOLD, names.SILVER],
            description="Rebuild this layer and those above it from bronze.",
        ),
        "up_to": Param(Group.PUBLISH.value, enum=[*names.GROUPS_UP_TO], description="Stop after this layer."),
        "allow_rejected": Param(
            False, type="boolean", description="Publish even if too many rows were rejected, or lost a value."
        ),
    },
):
    begin = BeginRunOperator(task_id=names.BEGIN).as_setup()

    # A teardown's failure does not fail the run: a stale source is reported but blocks nothing.
    freshness = source_freshness().as_teardown(setups=begin)

    bronze = dbt_models(Group.BRONZE)

    with TaskGroup(Group.SILVER_STAGING):
        built = build_entities()
        tested = entity_tests()

    marts = dbt_models(Group.SILVER_MARTS)

    # Each task takes two pool slots, so that fewer run at once: over a long history each needs much memory.
    gold = dbt_models(Group.GOLD, pool_slots=2)

    # Without new rows everything above bronze is skipped; the run still publishes, to move the watermark.
    audited = task(audit.audit_run, task_id=Group.AUDIT, trigger_rule="none_failed", pre_execute=claim)()

    stage = stage_tables(audited_by=Group.AUDIT)

    # If nothing at all has changed, this is the only task that still runs after `begin`.
    published = task(
        publish.publish,
        task_id=Group.PUBLISH,
        trigger_rule="none_failed",
        pre_execute=claim,
        outlets=[GOLD_ASSET],
    )(audited=audited)

    end = task(end_run, task_id=names.END)().as_teardown(setups=begin)

    chain(begin, bronze, built, tested, marts, gold, audited, stage, published)
    # `end` releases the lease, so it follows all tasks that write.
    [bronze, built, tested, *marts, gold, audited, stage, published] >> end
