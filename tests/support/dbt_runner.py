"""Run dbt in the tests' own process. This saves the start of a process, and parsing the project for each command."""

import json
import os
from pathlib import Path
from typing import Any
from unittest import mock

from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest

from medallion.settings import DBT_PROJECT

# Prefixes of the variables that include/dbt/profiles.yml reads.
ENGINES = ("TRINO_", "THRIFT_")


def run_context(batch: int, **run: Any) -> str:
    """Return a run's context as JSON, as in MEDALLION_RUN.

    `run`: values that differ from those of a first run over a range.
    """
    first = {
        "kind": "ranged", "batch": batch, "published_batch": 0, "publication": 0, "snapshots": {}, "rebuild": "none",
        "compare_whole": "none", "outdated": [], "tested_rows": "changed", "chunk_rows": 1000,
        "max_deleted_share": 1, "max_deleted_from": 1, "lake_catalog": "lake", "gold_catalog": "postgres_gold",
        "target_file_bytes": 128 * 1024**2,
    }  # fmt: skip
    return json.dumps(first | run)


class Dbt:
    """dbt for a project, on the engines whose addresses are in the variables `environment`.

    It writes its files into `folder`.
    """

    def __init__(self, environment: dict[str, str], folder: Path, project: Path = DBT_PROJECT) -> None:
        """Keep only the engines' variables. The first command for an engine parses the project for that engine."""
        self.project = project
        self.environment = {name: value for name, value in environment.items() if name.startswith(ENGINES)}
        self.folder = folder
        self.manifests: dict[str, Manifest] = {}

    def manifest(self, engine: str) -> Manifest:
        """Return an engine's manifest. The first call parses the project; later changes of its files are ignored."""
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
        """Run any dbt command without a run's context; return dbt's result."""
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
