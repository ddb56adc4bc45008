"""The silver entity jobs, one spark-submit each."""

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator

from medallion.settings import SPARK_CONNECTION, SPARK_JOBS


def entity_job(name: str, entities: list[str]) -> SparkSubmitOperator:
    """A task that makes the silver entities named, side by side within one submit."""
    return SparkSubmitOperator(
        task_id=name,
        conn_id=SPARK_CONNECTION,
        application=str(SPARK_JOBS / "silver.py"),
        name="medallion {{ ti.dag_id }}.{{ ti.task_id }}",
        application_args=[
            "--entities",
            ",".join(entities),
            "--batch",
            "{{ run_state(ti).batch }}",
            "--published-batch",
            "{{ 0 if run_state(ti).rebuild == 'silver' else run_state(ti).published_batch }}",
        ],
        max_active_tis_per_dag=1,
    )
