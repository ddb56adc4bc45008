"""Loaded by Airflow at start: in the scheduler, imports and warms dbt and Cosmos, so that the tasks it forks need not.

Loading the parsed project once has dbt make the schemas and the packers of its classes, which together with the
imports were most of the CPU time of a dbt task.
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
    """Has dbt load the project for both engines; where it can't, the tasks will say so."""
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
    # Shared pages stay shared: the collector of a forked task does not touch them.
    gc.freeze()
