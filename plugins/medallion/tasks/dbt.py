"""How Cosmos renders and runs the dbt project, for both engines."""

import re
import sys
from pathlib import Path
from typing import Any, Literal

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException
from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
from cosmos import settings as cosmos_settings
from cosmos.constants import InvocationMode, LoadMode, TestBehavior
from cosmos.exceptions import CosmosDbtRunError
from cosmos.operators.local import DbtSourceLocalOperator, DbtTestLocalOperator

from medallion.engines.iceberg import table_asset
from medallion.engines.leftovers import cancel_on_kill
from medallion.project.manifest import MANIFESTS
from medallion.run.attempts import ENTITIES
from medallion.run.state import DBT_RUN_ENVIRONMENT, DBT_TAG
from medallion.run.test_results import collect_test_result
from medallion.settings import DBT_PROJECT, THRIFT_CONNECTION, TRINO_CONNECTION, settings

Engine = Literal["trino", "spark"]

CONNECTION_ENVIRONMENT: dict[Engine, dict[str, str]] = {
    "trino": {
        "TRINO_HOST": f"{{{{ conn.{TRINO_CONNECTION}.host }}}}",
        "TRINO_PORT": f"{{{{ conn.{TRINO_CONNECTION}.port }}}}",
        "TRINO_USER": f"{{{{ conn.{TRINO_CONNECTION}.login }}}}",
        "TRINO_MAX_RUN_TIME": f"{settings().task_timeout.total_seconds():.0f}s",
    },
    "spark": {
        "THRIFT_HOST": f"{{{{ conn.{THRIFT_CONNECTION}.host }}}}",
        "THRIFT_PORT": f"{{{{ conn.{THRIFT_CONNECTION}.port }}}}",
    },
}


def profile(engine: Engine) -> ProfileConfig:
    """The output of `profiles.yml` for the engine."""
    return ProfileConfig(
        profile_name="medallion", target_name=engine, profiles_yml_filepath=DBT_PROJECT / "profiles.yml"
    )


# Arguments that every dbt operator shares.
ARGUMENTS: dict[str, Any] = {
    "append_env": True,
    "invocation_mode": InvocationMode.DBT_RUNNER,
    # Ours have the tables' names, and need no lineage library.
    "emit_datasets": False,
    # The manifest stands beside the project already, and the log tells the results: a fifth of a task's CPU time.
    "dbt_cmd_global_flags": ["--no-version-check", "--no-write-json"],
    "dbt_runner_callbacks": [collect_test_result],
}
# Those of the operators that write or look at what is written: a table has one writer, never two tries of one model
# at a time, over runs and backfills.
WRITER_ARGUMENTS = ARGUMENTS | {
    "max_active_tis_per_dag": 1,
    # They prove the models once, before a deployment; not every hour.
    "dbt_cmd_flags": ["--exclude-resource-type", "unit_test"],
}


def run_environment(engine: Engine) -> dict[str, str]:
    """The environment of a task that belongs to a run; rendering it takes the lease."""
    return CONNECTION_ENVIRONMENT[engine] | DBT_RUN_ENVIRONMENT


def parse_cache(engine: Engine) -> Path:
    """Where all tasks keep from run to run what dbt parsed; of itself Cosmos has a place for each group."""
    return Path(cosmos_settings.cache_dir) / engine


def engine_arguments(engine: Engine) -> dict[str, Any]:
    """Arguments of an operator outside of a layer's group."""
    return {
        "project_dir": DBT_PROJECT,
        "profile_config": profile(engine),
        "cache_dir": parse_cache(engine),
    }


def dbt_layer(layer: str, engine: Engine, select: str, pool_slots: int = 1) -> DbtTaskGroup:
    """A group of one task per selected model, which builds it and runs its tests in so many slots of the pool."""
    group = DbtTaskGroup(
        group_id=layer,
        project_config=ProjectConfig(
            dbt_project_path=DBT_PROJECT,
            manifest_path=MANIFESTS / engine / "manifest.json",
            install_dbt_deps=False,
            env_vars=run_environment(engine),
        ),
        profile_config=profile(engine),
        execution_config=ExecutionConfig(
            dbt_executable_path=Path(sys.executable).with_name("dbt"),
        ),
        render_config=RenderConfig(
            load_method=LoadMode.DBT_MANIFEST,
            select=[select],
            test_behavior=TestBehavior.BUILD,
            normalize_task_id=lambda node: node.name,
            normalize_task_display_name=lambda node: node.name,
            emit_datasets=False,
        ),
        operator_args=WRITER_ARGUMENTS | {"pool_slots": pool_slots},
    )
    for task in group:
        cancel_on_kill(task)
        task.cache_dir = parse_cache(engine)
        task.outlets = [table_asset(task.task_id)]
    return group


def dbt_tests(engine: Engine, **selection: str) -> DbtTestLocalOperator:
    """A task that runs tests of what is there; `selection`: its `task_id`, and what dbt selects tests by."""
    task = DbtTestLocalOperator(
        env=run_environment(engine), **selection, **engine_arguments(engine), **WRITER_ARGUMENTS
    )
    cancel_on_kill(task)
    return task


def entity_tests() -> DbtTestLocalOperator:
    """The tests of the tables that the Spark job made; of all, where it was marked as done by hand."""
    return dbt_tests(
        "trino",
        task_id="test",
        select=f"{{{{ (ti.xcom_pull(task_ids='{ENTITIES}') or ['tag:entity']) | join(' ') }}}}",
        # Cautious: not those that look at a model made later, too.
        indirect_selection="cautious",
    )


class FreshnessOperator(DbtSourceLocalOperator):  # type: ignore[misc]  # Cosmos has no types
    """Fails at once where the source has had no change for long: more tries would only keep the run from its end."""

    def execute(self, context: Context, **options: Any) -> Any:
        """Raises AirflowFailException naming what is stale; what an engine said of itself goes on to be retried."""
        try:
            return super().execute(context, **options)
        except CosmosDbtRunError as error:
            # Of a stale table dbt reports no message.
            if stale := re.findall(r"(\w+): None$", str(error), re.MULTILINE):
                raise AirflowFailException(
                    f"No change at the source for too long in: {', '.join(stale)}."
                    " The limits are in include/dbt/models/bronze/sources.yml."
                ) from error
            raise


def source_freshness() -> FreshnessOperator:
    """Looks at the age of the source's newest change; the limits stand in the source's YAML."""
    task = FreshnessOperator(
        task_id="freshness",
        # It belongs to no run: it waits for no lease.
        env=CONNECTION_ENVIRONMENT["trino"] | DBT_TAG,
        **engine_arguments("trino"),
        **ARGUMENTS,
    )
    cancel_on_kill(task)
    return task
