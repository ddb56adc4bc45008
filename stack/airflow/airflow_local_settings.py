"""Preload dbt and Cosmos in the scheduler, so that the tasks forked from it need not; Airflow imports this at start.

Loading the parsed project once makes dbt build the schemas and serializers of its classes. With the imports, that was
most of the CPU time of a dbt task.
"""

import gc
import importlib
import os
import sys
from pathlib import Path

PRELOAD = (
    "agate",
    "airflow.sdk.definitions.decorators",
    "cosmos.converter",
    "cosmos.operators.local",
    "dbt.adapters.spark",
    "dbt.adapters.trino",
    "dbt.cli.main",
    "dbt.parser.manifest",
    "dbt.task.build",
    "dbt.task.run",
    # Cosmos imports it in every dbt task.
    "openlineage.common.provider.dbt.local",
)


def warm_dbt() -> None:
    """Let dbt load the project for both engines; an error is left for the tasks to report."""
    from dbt.adapters.factory import reset_adapters
    from dbt.cli.main import dbtRunner

    project = Path(os.environ["STACK_ROOT"], "include", "dbt")
    for engine in ("trino", "spark"):
        parsed = Path(os.environ["AIRFLOW_HOME"], "cosmos", engine, "target")
        dbtRunner().invoke([
            "--no-version-check", "--quiet", "--log-path", os.environ["STACK_LOG"], "parse", "--target", engine,
            "--project-dir", str(project), "--profiles-dir", str(project), "--target-path", str(parsed),
        ])  # fmt: skip
        reset_adapters()  # type: ignore[no-untyped-call]


if "scheduler" in sys.argv:
    for name in PRELOAD:
        importlib.import_module(name)
    warm_dbt()
    # Keep shared pages shared: the garbage collector of a forked task then ignores them.
    gc.freeze()
