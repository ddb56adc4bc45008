"""The Spark jobs, one spark-submit each."""

from typing import Any, cast

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from medallion.engines.iceberg import table_asset
from medallion.maintenance import MIN_INPUT_FILES, TARGET_BYTES
from medallion.run.pending import tables_with_new_rows
from medallion.run.state import run_state
from medallion.settings import SPARK_CONNECTION, SPARK_JOBS


class EntitiesOperator(SparkSubmitOperator):
    """Makes the silver entities that bronze has news for, side by side in one submit; skipped where it has none."""

    def __init__(self, *, entities: list[str], **options: Any) -> None:
        super().__init__(
            conn_id=SPARK_CONNECTION,
            application=str(SPARK_JOBS / "silver.py"),
            name="{{ tag(ti) }}",
            application_args=[
                "--entities",
                ",".join(entities),
                "--batch",
                "{{ run_state(ti).batch }}",
                "--published-batch",
                "{{ run_state(ti).published_batch }}",
                "--rebuild",
                "{{ run_state(ti).rebuild }}",
            ],
            max_active_tis_per_dag=1,
            # Of bronze tables without a change the tasks are skipped.
            trigger_rule="none_failed",
            outlets=[table_asset(f"silver.stg_{name}") for name in entities],
            **options,
        )
        self.entities = entities

    def pre_execute(self, context: Context) -> None:
        """Asks for what there is to make alone. Raises AirflowSkipException where that is nothing: no Spark starts."""
        news = tables_with_new_rows(run_state(context["ti"]), self.entities)
        if not news:
            raise AirflowSkipException("Bronze got nothing new since the last publication")
        cast("list[str]", self.application_args)[1] = ",".join(news)

    def execute(self, context: Context) -> list[str]:  # type: ignore[override]  # Spark's own returns nothing
        """Makes them; returns their tables' names, without the schema."""
        super().execute(context)
        return [f"stg_{name}" for name in cast("list[str]", self.application_args)[1].split(",")]


def compact_job() -> SparkSubmitOperator:
    """A task that compacts and sorts the tables of which `measure` says so; rendering it takes the lease."""
    return SparkSubmitOperator(
        task_id="compact",
        conn_id=SPARK_CONNECTION,
        application=str(SPARK_JOBS / "compact.py"),
        name="{{ tag(ti) }}",
        application_args=[
            "--tables",
            "{%- set run = run_state(ti) -%}"
            "{{ ti.xcom_pull(task_ids='measure') | selectattr('compact') | list | tojson }}",
            "--target-bytes",
            str(TARGET_BYTES),
            "--min-input-files",
            str(MIN_INPUT_FILES),
        ],
        max_active_tis_per_dag=1,
    )
