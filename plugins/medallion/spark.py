"""The Spark jobs, one spark-submit each."""

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator

from medallion.maintenance import CROWD, TARGET_BYTES
from medallion.settings import SPARK_CONNECTION, SPARK_JOBS


def entity_job(name: str, entities: list[str]) -> SparkSubmitOperator:
    """A task that makes the silver entities named, side by side within one submit."""
    return SparkSubmitOperator(
        task_id=name,
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
    )


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
            "--crowd",
            str(CROWD),
        ],
        max_active_tis_per_dag=1,
    )
