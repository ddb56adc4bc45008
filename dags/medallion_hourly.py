"""
### Hourly medallion ETL

PostgreSQL `sales` → bronze (Trino) → silver (Spark) → gold (Trino) → PostgreSQL `gold`.

A run takes the lease, resolves its window, captures what the source changed in it, makes the rows that depend on
it again, tests them, and publishes all gold tables in one transaction. Any run may be repeated, cleared or killed.

* **Scheduled**: everything since the last covered moment; an outage heals in one run.
* **Any range in one run**: trigger with `window_start` and `window_end`.
* **Hour by hour**: a backfill from the UI or `airflow backfill create`.
"""

from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, Param, TaskGroup, chain, task

from medallion.project.manifest import entities
from medallion.publish import audit, publish
from medallion.run import lease
from medallion.settings import SQL, settings
from medallion.tasks.alerts import deadline
from medallion.tasks.begin import BeginRunOperator
from medallion.tasks.dbt import dbt_layer, entity_tests, source_freshness
from medallion.tasks.defaults import DAG_ARGUMENTS
from medallion.tasks.spark import EntitiesOperator
from medallion.tasks.stage import stage_tables

# What BI tools and other DAGs wait for.
GOLD = Asset(name="gold", uri="medallion://gold")

with DAG(
    "medallion_hourly",
    schedule=CronDataIntervalTimetable(settings().schedule, timezone="UTC"),
    deadline=deadline(),
    doc_md=__doc__,
    tags=["medallion", "hourly"],
    **DAG_ARGUMENTS,
    template_searchpath=[str(SQL)],
    params={
        "window_start": Param(
            None,
            type=["null", "string"],
            description="Start of the window: ISO 8601, UTC unless it has an offset. Give both, or neither.",
        ),
        "window_end": Param(
            None, type=["null", "string"], description="End of the window, itself not in it."
        ),
        "rebuild": Param(
            "none",
            enum=["none", "gold", "silver"],
            description="Make this layer and those above again from bronze.",
        ),
        "up_to": Param(
            "publish", enum=["bronze", "silver", "gold", "publish"], description="Stop after this layer."
        ),
        "allow_rejected": Param(
            False, type="boolean", description="Let this run publish even if too many rows were rejected."
        ),
    },
):
    begin = BeginRunOperator(task_id="begin").as_setup()

    # A teardown, whose failure does not fail the run: an old source is told, and holds nothing back.
    freshness = source_freshness().as_teardown(setups=begin)

    bronze = dbt_layer("bronze", "trino", "path:models/bronze")

    with TaskGroup("entities"):
        made = EntitiesOperator(task_id="spark", entities=entities())
        tested = entity_tests()

    silver = dbt_layer("silver", "spark", "path:models/silver/marts")

    # A long history takes much of a small engine's memory: where slots are few, half as many side by side.
    gold = dbt_layer("gold", "trino", "path:models/gold", pool_slots=2)

    # A run without news has skipped what is above bronze, and publishes that there were none.
    audited = task(audit.audit_run, task_id="audit", trigger_rule="none_failed")()

    stage = stage_tables("audit")

    published = task(publish.publish, task_id="publish", outlets=[GOLD])(audited=audited)

    end = task(lease.release, task_id="end")().as_teardown(setups=begin)

    chain(begin, bronze, made, tested, silver, gold, audited, stage, published)
    # Whatever writes ends before the lease is given back.
    [bronze, made, tested, silver, gold, audited, stage, published] >> end
