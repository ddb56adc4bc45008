"""The tasks that submit Spark jobs."""

import json
from abc import abstractmethod
from typing import Any

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from medallion.engines.leftovers import end_spark_drivers, tag
from medallion.maintenance import MIN_INPUT_FILES
from medallion.names import COMPACT, MEASURE, SILVER, SPARK_TASK, lake_table, staging_table
from medallion.project.declarations import declarations
from medallion.project.manifest import entities, source_tables
from medallion.run.pending import tables_with_new_rows
from medallion.run.state import RunState
from medallion.settings import SPARK_CONNECTION, SPARK_JOBS
from medallion.tasks.assets import table_asset
from medallion.tasks.hooks import claim


class SparkJobOperator(SparkSubmitOperator):
    """Submits a job of `include/spark_jobs`, which gets the run's context as `--run` and its own arguments.

    `arguments` returns the job's own arguments; they are known once the run is claimed.
    """

    def __init__(self, *, job: str, **options: Any) -> None:
        super().__init__(
            conn_id=SPARK_CONNECTION,
            # This script starts spark-submit, or uses a running Spark server, depending on the connection's host.
            spark_binary=str(SPARK_JOBS / "submit"),
            application=str(SPARK_JOBS / job),
            name="{{ tag(ti) }}",
            max_active_tis_per_dag=1,
            # The method below claims the run, instead of the hook of other tasks, because it needs the operator.
            pre_execute=None,
            **options,
        )

    def pre_execute(self, context: Context) -> None:
        """Claim the run, end a driver of this task that any run left, and complete the command line."""
        run = claim(context)
        # Taking the lease ends drivers only on the worker that takes it, which may be another machine.
        end_spark_drivers(tag(context["ti"]))
        self.application_args = ["--run", run.json(), *self.arguments(context, run)]

    @abstractmethod
    def arguments(self, context: Context, run: RunState) -> list[str]:
        """Return the job's own arguments."""


class EntitiesOperator(SparkJobOperator):
    """Builds the silver entities whose bronze tables have new rows, in one submit; skips if there are none."""

    def __init__(self, **options: Any) -> None:
        self.entities = entities()
        self.built: list[str] = []
        super().__init__(
            job="build_entities.py",
            # With the default rule this task would be skipped if the task of an unchanged bronze table is. In a project
            # without tables this task follows the setup task, after which Airflow allows only the default rule.
            trigger_rule="none_failed" if source_tables() else "all_success",
            outlets=[table_asset(lake_table(SILVER, staging_table(name))) for name in self.entities],
            **options,
        )

    def arguments(self, context: Context, run: RunState) -> list[str]:
        """Return the entities to build. Raises AirflowSkipException if there are none, so that no Spark starts."""
        self.built = tables_with_new_rows(run, self.entities)
        if not self.built:
            raise AirflowSkipException("Bronze got no new rows since the last publication.")
        declared = declarations()
        return [argument for name in self.built for argument in ("--entity", declared[name].json())]

    def execute(self, context: Context) -> list[str]:  # type: ignore[override]  # the base class returns nothing
        """Build the entities; return the names of their tables, without the schema."""
        super().execute(context)
        return [staging_table(name) for name in self.built]


class CompactOperator(SparkJobOperator):
    """Compacts and sorts the tables that the task `measure` found to need it."""

    def arguments(self, context: Context, run: RunState) -> list[str]:
        """Return the tables to compact."""
        tables = [table for table in context["ti"].xcom_pull(task_ids=MEASURE) if table["compact"]]
        return ["--tables", json.dumps(tables), "--min-input-files", str(MIN_INPUT_FILES)]


def build_entities() -> EntitiesOperator:
    """Return the task that builds the silver entities."""
    return EntitiesOperator(task_id=SPARK_TASK)


def compact_tables() -> CompactOperator:
    """Return the task that compacts the lake's tables."""
    return CompactOperator(task_id=COMPACT, job="compact_tables.py")
