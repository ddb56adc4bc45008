"""Load what tasks need into the scheduler before it forks them; Airflow imports this file at start.

Without it most of a task's CPU time goes into importing packages, reading the manifests and loading the parsed project.
"""

import gc
import importlib
import os
import runpy
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(os.environ["STACK_ROOT"])
DBT_PROJECT = ROOT / "include" / "dbt"
ENGINES = ("trino", "spark")

# Modules that tasks and the scheduler import. Loaded before the fork, they cost a task nothing.
PRELOAD = (
    "agate",
    "airflow.executors.local_executor",
    "airflow.jobs.scheduler_job_runner",
    "airflow.sdk.definitions.decorators",
    "airflow.sdk.execution_time.task_runner",
    "airflow.version",
    "cosmos.profiles",
    "dbt.adapters.__about__",
    "dbt.adapters.spark",
    "dbt.adapters.trino",
    "dbt.cli.main",
    "dbt.parser.manifest",
    "dbt.task.build",
    "dbt.task.run",
    "encodings.ascii",
    "multiprocessing.dummy",
    "netrc",
    "pyiceberg.catalog.sql",
    "pyiceberg.io.pyarrow",
    "sqlglot.dialects.spark",
    "tzdata.zoneinfo",
    "tzlocal",
)


def load_dags() -> None:
    """Run the DAG files once; an error is left for the dag-processor and the tasks to report."""
    for path in sorted((ROOT / "dags").glob("*.py")):
        with suppress(Exception):
            runpy.run_path(str(path))


def parse_project(engine: str) -> Any:
    """Return the project as dbt parses it for an engine, or None; an error is left for the tasks to report."""
    from dbt.adapters.factory import reset_adapters
    from dbt.cli.main import dbtRunner

    parsed = Path(os.environ["AIRFLOW_HOME"], "cosmos", engine, "target")
    result = dbtRunner().invoke([
        "--no-version-check", "--quiet", "--log-path", os.environ["STACK_LOG"], "parse", "--target", engine,
        "--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT), "--target-path", str(parsed),
    ])  # fmt: skip
    reset_adapters()  # type: ignore[no-untyped-call]
    return result.result if result.success else None


def reuse_project(projects: dict[str, Any], code: str) -> None:
    """Let dbt use `projects` instead of loading them from disk, while the digest of their files is still `code`."""
    import dbt.cli.main
    from cosmos.operators.local import AbstractDbtLocalBase

    from medallion.project.fingerprint import dbt_code

    @cache
    def is_current() -> bool:
        """Return whether the files are those that were parsed; a task checks this once."""
        return dbt_code() == code

    class Runner(dbt.cli.main.dbtRunner):
        def invoke(self, args: list[str], **options: Any) -> dbt.cli.main.dbtRunnerResult:
            """Run a command of dbt."""
            if is_current():
                self.manifest = projects[args[args.index("--target") + 1]]
            return super().invoke(args, **options)

    dbt.cli.main.dbtRunner = Runner  # type: ignore[misc]

    # Skip Cosmos' copy of the parsed project on disk, because dbt uses the one in memory.
    copy_parsed = AbstractDbtLocalBase._handle_partial_parse
    AbstractDbtLocalBase._handle_partial_parse = lambda task, folder: (
        is_current() or copy_parsed(task, folder)
    )


def preload_scheduler() -> None:
    """Import the modules that tasks use, parse the dbt project for each engine, and compile its templates."""
    from medallion.project.fingerprint import dbt_code

    for name in PRELOAD:
        importlib.import_module(name)
    # Imported here, because only the scheduler needs its many imports.
    from stack.airflow.faster_tasks import compile_templates, shorten

    shorten()
    # Read the digest first: files that change while dbt parses them then count as changed.
    code = dbt_code()
    projects = {engine: parse_project(engine) for engine in ENGINES}
    for project in filter(None, projects.values()):
        compile_templates(project)
    reuse_project(projects, code)


if {"scheduler", "dag-processor"} & {*sys.argv}:
    load_dags()
    if "scheduler" in sys.argv:
        preload_scheduler()
    # The garbage collector must ignore the present objects. It would write to them, and so copy the memory pages that
    # forked processes share.
    gc.freeze()
