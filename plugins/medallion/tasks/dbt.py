"""How Cosmos renders and runs the dbt project, on both engines."""

import logging
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

from medallion.engines.leftovers import cancel_on_kill
from medallion.names import (
    BUILD_ENTITIES,
    ENGINES,
    ENTITY_ACCOUNTS,
    FRESHNESS,
    MODELS,
    QUARANTINE,
    TEST_TASK,
    TESTS_OF_EVERY_TABLE,
    Group,
    lake_table,
    model_of,
)
from medallion.project.manifest import MANIFESTS, ManifestError, schemas
from medallion.run.test_results import collect_test_result
from medallion.settings import DBT_PROJECT, THRIFT_CONNECTION, TRINO_CONNECTION, settings
from medallion.tasks.assets import table_asset
from medallion.tasks.hooks import claim_for_dbt

Engine = Literal["trino", "spark"]
TEST_ENGINE: Engine = "trino"  # Trino reads the tables of all layers

# Cosmos logs nine lines whenever it reads a group of models, which happens in every task.
for _name in ("cosmos.converter", "cosmos.dbt.graph", "cosmos.dbt.project"):
    logging.getLogger(_name).setLevel(logging.WARNING)

# Templates; `tag` marks the statements of a task, so that a later attempt can end them.
ENVIRONMENT: dict[str, dict[str, str]] = {
    "trino": {
        "TRINO_HOST": f"{{{{ conn.{TRINO_CONNECTION}.host }}}}",
        "TRINO_PORT": f"{{{{ conn.{TRINO_CONNECTION}.port }}}}",
        "TRINO_USER": f"{{{{ conn.{TRINO_CONNECTION}.login }}}}",
        "TRINO_MAX_RUN_TIME": f"{settings().task_timeout.total_seconds():.0f}s",
        "MEDALLION_TAG": "{{ tag(ti) }}",
    },
    "spark": {
        "THRIFT_HOST": f"{{{{ conn.{THRIFT_CONNECTION}.host }}}}",
        "THRIFT_PORT": f"{{{{ conn.{THRIFT_CONNECTION}.port }}}}",
        "MEDALLION_TAG": "{{ tag(ti) }}",
    },
}

# Arguments of every dbt operator.
ARGUMENTS: dict[str, Any] = {
    "append_env": True,
    "invocation_mode": InvocationMode.DBT_RUNNER,
    # Cosmos must not emit assets: the tasks have our own as outlets, which need no lineage library.
    "emit_datasets": False,
    # dbt need not write its results and its log to files, because the log of the task has both.
    "dbt_cmd_global_flags": ["--no-version-check", "--no-write-json", "--log-level-file", "none"],
    "dbt_runner_callbacks": [collect_test_result],
}
# Arguments of the operators that belong to a run. Each table has one writer: over all runs and backfills, only one
# attempt of a model runs at a time.
RUN_ARGUMENTS = ARGUMENTS | {
    "pre_execute": claim_for_dbt,
    "max_active_tis_per_dag": 1,
}


def profile(engine: str) -> ProfileConfig:
    """Return the output of `profiles.yml` for the engine."""
    return ProfileConfig(
        profile_name="medallion", target_name=engine, profiles_yml_filepath=DBT_PROJECT / "profiles.yml"
    )


def leave_out(*kinds: str) -> list[str]:
    """Return dbt's flags that leave out nodes of these kinds."""
    return [flag for kind in kinds for flag in ("--exclude-resource-type", kind)]


def parse_cache(engine: str) -> Path:
    """Return the folder in which all tasks keep what dbt parsed; Cosmos' default is a folder per task group."""
    return Path(cosmos_settings.cache_dir) / engine


def engine_arguments(engine: Engine) -> dict[str, Any]:
    """Return the arguments of an operator outside of a group of models."""
    return {
        "project_dir": DBT_PROJECT,
        "profile_config": profile(engine),
        "cache_dir": parse_cache(engine),
    }


def dbt_models(group: Group, pool_slots: int = 1) -> DbtTaskGroup:
    """Return a task group with one task per model. The task builds the model, and on Trino tests it, too.

    Tables that Spark builds are tested by one task at the end of the group, on Trino: a test on Spark takes several
    times as long, most of it for a session of its own.
    `pool_slots`: slots of Airflow's pool that each task takes.
    Raises ManifestError if a mart has the name of the task that tests the others, or of a table of the Spark job.
    """
    engine = ENGINES[group]
    is_tested_apart = engine != TEST_ENGINE
    project = ProjectConfig(
        dbt_project_path=DBT_PROJECT, install_dbt_deps=False, env_vars=ENVIRONMENT[engine]
    )
    # Set the path here. Cosmos turns an argument into a path of object storage, and that loads Airflow's plugins to
    # report lineage.
    project.manifest_path = MANIFESTS / engine / "manifest.json"
    task_group = DbtTaskGroup(
        group_id=group,
        project_config=project,
        profile_config=profile(engine),
        execution_config=ExecutionConfig(
            dbt_executable_path=Path(sys.executable).with_name("dbt"),
        ),
        render_config=RenderConfig(
            load_method=LoadMode.DBT_MANIFEST,
            select=[MODELS[group]],
            test_behavior=TestBehavior.BUILD,
            normalize_task_id=lambda node: node.name,
            normalize_task_display_name=lambda node: node.name,
            emit_datasets=False,
        ),
        operator_args=RUN_ARGUMENTS
        | {
            "pool_slots": pool_slots,
            "dbt_cmd_flags": leave_out("unit_test", *(["test"] if is_tested_apart else [])),
        },
    )
    schema_of = schemas()
    for task in task_group:
        cancel_on_kill(task)
        task.cache_dir = parse_cache(engine)
        model = model_of(task.task_id)
        table = lake_table(schema_of[model], model)
        if is_tested_apart and (model == TEST_TASK or table in (ENTITY_ACCOUNTS, QUARANTINE)):
            raise ManifestError(
                f"The model {model} of {MODELS[group].partition(':')[2]} has the name of"
                f" {'the task that tests the others' if model == TEST_TASK else 'a table of the Spark job'}:"
                " give it another name."
            )
        task.outlets = [table_asset(table)]
    if is_tested_apart and (last := list(task_group.get_leaves())):
        with task_group:
            # `buildable` leaves out tests that also read a model that is built later.
            tested = dbt_tests(task_id=TEST_TASK, select=MODELS[group], indirect_selection="buildable")
        last >> tested
    return task_group


def dbt_tests(tables: str = "", **selection: str) -> DbtTestLocalOperator:
    """Return a task that tests existing tables, on Trino; `selection`: its `task_id`, and dbt's selectors.

    `tables`: template of the tables that the general tests in tests/medallion read; empty for all tables.
    """
    task = DbtTestLocalOperator(
        dbt_cmd_flags=leave_out("unit_test"),
        env=ENVIRONMENT[TEST_ENGINE] | {"MEDALLION_TESTED": tables},
        **selection,
        **engine_arguments(TEST_ENGINE),
        **RUN_ARGUMENTS,
    )
    cancel_on_kill(task)
    return task


def entity_tests() -> DbtTestLocalOperator:
    """Return the tests of the tables that the Spark job built, or of all its tables if it was marked as done."""
    built = f"ti.xcom_pull(task_ids='{BUILD_ENTITIES}')"
    return dbt_tests(
        tables=f"{{{{ ({built} or []) | join(' ') }}}}",
        task_id=TEST_TASK,
        select=f"{TESTS_OF_EVERY_TABLE} {{{{ ({built} or ['tag:entity']) | join(' ') }}}}",
        # `cautious` leaves out tests that also read a model that is built later.
        indirect_selection="cautious",
    )


def whole_table_tests() -> DbtTestLocalOperator:
    """Return the tests of whole tables of silver and gold. The tasks of bronze test their own tables."""
    return dbt_tests(task_id=TEST_ENGINE, exclude=MODELS[Group.BRONZE])


class FreshnessOperator(DbtSourceLocalOperator):  # type: ignore[misc]  # Cosmos has no types
    """Checks the source's age; fails without retries if it is stale, because a retry would find the same."""

    def execute(self, context: Context, **options: Any) -> Any:
        """Raise AirflowFailException naming the stale tables; other errors are retried."""
        try:
            return super().execute(context, **options)
        except CosmosDbtRunError as error:
            # dbt has no message for a stale table, so Cosmos reports its name with `None`.
            if stale := re.findall(r"(\w+): None$", str(error), re.MULTILINE):
                raise AirflowFailException(
                    f"The source has had no change for too long in: {', '.join(stale)}."
                    " The limits are in the tables' files in include/dbt/models/bronze."
                ) from error
            raise


def source_freshness() -> FreshnessOperator:
    """Return a task that checks the age of the source's newest change; the limits are in the source's YAML."""
    task = FreshnessOperator(
        task_id=FRESHNESS,
        # This task writes nothing and claims no run.
        env=dict(ENVIRONMENT["trino"]),
        **engine_arguments("trino"),
        **ARGUMENTS,
    )
    cancel_on_kill(task)
    return task
