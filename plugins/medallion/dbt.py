"""How Cosmos renders and runs the dbt project, for both engines."""

import sys
from pathlib import Path
from typing import Any, Literal

from airflow.sdk import Asset
from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
from cosmos import settings as cosmos_settings
from cosmos.constants import ExecutionMode, InvocationMode, LoadMode, TestBehavior
from cosmos.operators.local import DbtSourceLocalOperator, DbtTestLocalOperator

from medallion.engines import cancel_on_kill
from medallion.manifest import MANIFESTS
from medallion.run_state import DBT_RUN_ENVIRONMENT
from medallion.settings import DBT_PROJECT, THRIFT_CONNECTION, TRINO_CONNECTION

Engine = Literal["trino", "spark"]

CONNECTION_ENVIRONMENT: dict[Engine, dict[str, str]] = {
    "trino": {
        "TRINO_HOST": f"{{{{ conn.{TRINO_CONNECTION}.host }}}}",
        "TRINO_PORT": f"{{{{ conn.{TRINO_CONNECTION}.port }}}}",
        "TRINO_USER": f"{{{{ conn.{TRINO_CONNECTION}.login }}}}",
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


def common_arguments(engine: Engine) -> dict[str, Any]:
    """Arguments that every dbt operator of the engine shares."""
    return {
        "invocation_mode": InvocationMode.DBT_RUNNER,
        # Where the parsed project is kept from task to task; a group has a place of its own.
        "cache_dir": cosmos_settings.cache_dir / engine,
        # Ours have the tables' names, and need no lineage library.
        "emit_datasets": False,
        "append_env": True,
        "env": CONNECTION_ENVIRONMENT[engine],
        "install_deps": False,
        "dbt_cmd_global_flags": ["--no-version-check"],
    }


def writing_arguments(engine: Engine) -> dict[str, Any]:
    """Arguments of the operators that belong to a run, and take its lease."""
    arguments = common_arguments(engine)
    return arguments | {
        "env": arguments["env"] | DBT_RUN_ENVIRONMENT,
        # A table has one writer: never two tries of one model at a time, over runs and backfills.
        "max_active_tis_per_dag": 1,
    }


def dbt_layer(layer: str, engine: Engine, select: str) -> DbtTaskGroup:
    """A group of one task per selected model, which builds it and runs its tests."""
    group = DbtTaskGroup(
        group_id=layer,
        project_config=ProjectConfig(
            dbt_project_path=DBT_PROJECT,
            manifest_path=MANIFESTS / engine / "manifest.json",
            install_dbt_deps=False,
        ),
        profile_config=profile(engine),
        execution_config=ExecutionConfig(
            execution_mode=ExecutionMode.LOCAL,
            invocation_mode=InvocationMode.DBT_RUNNER,
            dbt_executable_path=Path(sys.executable).with_name("dbt"),
        ),
        render_config=RenderConfig(
            load_method=LoadMode.DBT_MANIFEST,
            select=[select],
            test_behavior=TestBehavior.BUILD,
            normalize_task_id=lambda node: node.name,
            emit_datasets=False,
        ),
        operator_args=writing_arguments(engine),
    )
    for task in group:
        cancel_on_kill(task)
        task.outlets = [lake_table(layer, task.label)]
    return group


def lake_table(layer: str, name: str) -> Asset:
    """A table of the lake, for what is scheduled by its changes."""
    return Asset(name=f"lake.{layer}.{name}", uri=f"iceberg://lake/{layer}/{name}")


def entity_tests() -> DbtTestLocalOperator:
    """The tests of the tables that the Spark jobs make."""
    task = DbtTestLocalOperator(
        task_id="test",
        project_dir=DBT_PROJECT,
        profile_config=profile("trino"),
        select="tag:entity",
        # Not those that look at a model made later, too.
        indirect_selection="cautious",
        **writing_arguments("trino"),
    )
    cancel_on_kill(task)
    return task


def source_freshness() -> DbtSourceLocalOperator:
    """Fails where the source has had no change for long; the limits stand in the source's YAML."""
    return DbtSourceLocalOperator(
        task_id="freshness",
        project_dir=DBT_PROJECT,
        profile_config=profile("trino"),
        **common_arguments("trino"),
    )
