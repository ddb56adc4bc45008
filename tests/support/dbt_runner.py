"""dbt in the tests' own process, on the stack's engines: the project is parsed once, and no process is started."""

import json
import os
from pathlib import Path
from typing import Any
from unittest import mock

from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest

from medallion.settings import DBT_PROJECT

# Variables by which include/dbt/profiles.yml finds the engines.
ENGINES = ("TRINO_", "THRIFT_")


def run_context(batch: int, **run: Any) -> str:
    """Return the context of a run as JSON, as in MEDALLION_RUN; `run`: how it differs from a first, ranged run."""
    first = {
        "kind": "ranged", "batch": batch, "published_batch": 0, "publication": 0, "snapshots": {}, "rebuild": "none",
        "compare_whole": "none", "outdated": [], "tested_rows": "changed", "chunk_rows": 1000,
        "max_deleted_share": 1, "max_deleted_from": 1, "lake_catalog": "lake", "gold_catalog": "postgres_gold",
        "target_file_bytes": 128 * 1024**2,
    }  # fmt: skip
    return json.dumps(first | run)


class Dbt:
    """dbt on the engines that `environment` names, the environment of the stack's processes; writes into `folder`."""

    def __init__(self, environment: dict[str, str], folder: Path, project: Path = DBT_PROJECT) -> None:
        """Take the engines' variables. The first command of an engine parses the project for it."""
        self.project = project
        self.environment = {name: value for name, value in environment.items() if name.startswith(ENGINES)}
        self.folder = folder
        self.manifests: dict[str, Manifest] = {}

    def manifest(self, engine: str) -> Manifest:
        """Return the project as it was when an engine's first command parsed it."""
        if engine not in self.manifests:
            self.manifests[engine] = self._invoke(engine, None, "parse")[0].result
        return self.manifests[engine]

    def run(self, engine: str, selected: list[str], context: str) -> tuple[bool, str]:
        """Run models as a run's tasks do; return whether all succeeded, and dbt's output.

        `context`: the run's context as JSON, as in MEDALLION_RUN.
        """
        with mock.patch.dict(os.environ, {"MEDALLION_RUN": context}):
            done, output = self._invoke(engine, self.manifest(engine), "run", "--select", *selected)
        return done.success, output

    def invoke(self, engine: str, *arguments: str) -> Any:
        """Run any command of dbt by hand, without a run; return dbt's result."""
        return self._invoke(engine, self.manifest(engine), *arguments)[0]

    def _invoke(self, engine: str, manifest: Manifest | None, *arguments: str) -> tuple[Any, str]:
        messages = []

        def listen(event: Any) -> None:
            if event.info.level != "debug":
                messages.append(event.info.msg)

        with mock.patch.dict(os.environ, self.environment):
            done = dbtRunner(manifest=manifest, callbacks=[listen]).invoke([
                "--no-version-check", "--log-level", "error", "--log-path", str(self.folder),
                *arguments, "--target", engine, "--target-path", str(self.folder / engine),
                "--project-dir", str(self.project), "--profiles-dir", str(self.project),
            ])  # fmt: skip
        if done.exception:
            raise done.exception
        return done, "\n".join(messages)
