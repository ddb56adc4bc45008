"""
### Hourly medallion ETL

PostgreSQL `sales` → bronze (Trino) → silver (Spark) → gold (Trino) → PostgreSQL `gold`.

A run takes the lease, resolves its window, captures what the source changed in it, makes the rows that depend on
it again, tests them, and publishes all gold tables in one transaction. Any run may be repeated, cleared or killed.

* **Scheduled**: everything since the last covered moment; an outage heals in one run.
* **Any range in one run**: trigger with `window_start` and `window_end`.
* **Hour by hour**: a backfill from the UI or `airflow backfill create`.
"""

from datetime import UTC, datetime, timedelta

from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import DAG, CronDataIntervalTimetable, Param, TaskGroup, chain, task
from cosmos import DbtTaskGroup
from cosmos.operators.local import DbtTestLocalOperator

from medallion import audit, lease, publish
from medallion.begin import BeginRunOperator
from medallion.dbt import dbt_arguments, dbt_layer, profile
from medallion.defaults import DEFAULT_ARGS, MACROS
from medallion.gold import gold_tables
from medallion.settings import DBT_PROJECT, SQL, TRINO_CONNECTION, settings
from medallion.spark import entity_job

# One submit a line; an entity can be given a submit of its own.
ENTITY_JOBS = {
    "reference": ["customers", "sellers", "products", "product_category_name_translation", "geolocation"],
    "orders": ["orders", "order_items", "order_payments", "order_reviews"],
}

with DAG(
    "medallion_hourly",
    schedule=CronDataIntervalTimetable(settings().schedule, timezone="UTC"),
    start_date=datetime(2016, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=12),
    doc_md=__doc__,
    tags=["medallion", "hourly"],
    default_args=DEFAULT_ARGS,
    user_defined_macros=MACROS,
    template_searchpath=[str(SQL)],
    params={
        "window_start": Param(
            None,
            type=["null", "string"],
            description="Start of the window, ISO 8601, UTC unless it has an offset. With window_end: any range in one run.",
        ),
        "window_end": Param(None, type=["null", "string"], description="End of the window, itself not in it."),
        "rebuild": Param(
            "none", enum=["none", "gold", "silver"], description="Make this layer and those above again from bronze."
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

    bronze = DbtTaskGroup(group_id="bronze", **dbt_layer("trino", "path:models/bronze"))

    with TaskGroup("entities") as entities:
        jobs = [entity_job(name, names) for name, names in ENTITY_JOBS.items()]
        for job, names in zip(jobs, ENTITY_JOBS.values(), strict=True):
            [bronze[name] for name in names] >> job
        tested = DbtTestLocalOperator(
            task_id="test",
            project_dir=DBT_PROJECT,
            profile_config=profile("trino"),
            select="tag:entity",
            indirect_selection="cautious",
            **dbt_arguments("trino"),
        )
        jobs >> tested

    silver = DbtTaskGroup(group_id="silver", **dbt_layer("spark", "path:models/silver/marts"))

    gold = DbtTaskGroup(group_id="gold", **dbt_layer("trino", "path:models/gold"))

    audited = task(audit.audit_run, task_id="audit")(allow_rejected="{{ params.allow_rejected }}")

    with TaskGroup("stage") as stage:
        for table in gold_tables():
            SQLExecuteQueryOperator(
                task_id=table.name,
                conn_id=TRINO_CONNECTION,
                sql="stage.sql",
                params={"table": {"name": table.name, "key": table.key, "columns": list(table.columns)}},
                split_statements=True,
            )

    published = task(publish.publish, task_id="publish")()

    end = task(lease.release, task_id="end")().as_teardown(setups=begin)

    begin >> bronze
    chain(tested, silver, gold, audited, stage, published)
    # Whatever writes ends before the lease is given back.
    [bronze, entities, silver, gold, audited, stage, published] >> end
