"""How Cosmos renders and runs the dbt project, for both engines."""

import sys
from pathlib import Path
from typing import Any, Literal

from cosmos import ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
from cosmos.constants import ExecutionMode, InvocationMode, LoadMode, TestBehavior

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


def dbt_arguments(engine: Engine, **operator_arguments: Any) -> dict[str, Any]:
    """Arguments that every dbt operator of the engine shares."""
    return {
        "env": DBT_RUN_ENVIRONMENT | CONNECTION_ENVIRONMENT[engine],
        "append_env": True,
        "install_deps": False,
        "dbt_cmd_global_flags": ["--no-version-check"],
        # dbt's own MERGE target is one table: never two tries of one model at a time, over runs and backfills.
        "max_active_tis_per_dag": 1,
    } | operator_arguments


def profile(engine: Engine) -> ProfileConfig:
    return ProfileConfig(
        profile_name="medallion", target_name=engine, profiles_yml_filepath=DBT_PROJECT / "profiles.yml"
    )


def dbt_layer(engine: Engine, select: str) -> dict[str, Any]:
    """Arguments of a DbtTaskGroup: one task per selected model, which builds it and runs its tests."""
    return {
        "project_config": ProjectConfig(
            dbt_project_path=DBT_PROJECT,
            manifest_path=DBT_PROJECT / "target" / engine / "manifest.json",
            install_dbt_deps=False,
        ),
        "profile_config": profile(engine),
        "execution_config": ExecutionConfig(
            execution_mode=ExecutionMode.LOCAL,
            invocation_mode=InvocationMode.DBT_RUNNER,
            dbt_executable_path=Path(sys.executable).with_name("dbt"),
        ),
        "render_config": RenderConfig(
            load_method=LoadMode.DBT_MANIFEST,
            select=[select],
            test_behavior=TestBehavior.BUILD,
            normalize_task_id=lambda node: node.name,
            emit_datasets=False,
        ),
        "operator_args": dbt_arguments(engine),
    }
