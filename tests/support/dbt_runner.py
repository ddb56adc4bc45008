"""dbt in the tests' own process, on the stack's engines: the project is parsed once, and no process is started."""

import os
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest

from medallion.settings import DBT_PROJECT

# Variables by which include/dbt/profiles.yml finds the engines.
ENGINES = ("TRINO_", "THRIFT_")


class Dbt:
    """dbt on the engines that `environment` names, the environment of the stack's processes; writes into `folder`."""

    def __init__(self, environment: dict[str, str], folder: Path, project: Path = DBT_PROJECT) -> None:
        """Take the engines' variables. The first run parses the project."""
        self.project = project
        self.environment = {name: value for name, value in environment.items() if name.startswith(ENGINES)}
        self.folder = folder

    @cached_property
    def manifests(self) -> dict[str, Manifest]:
        """Return the parsed project of each engine."""
        return {engine: self._invoke(engine, None, "parse")[0].result for engine in ("trino", "spark")}

    def run(self, engine: str, selected: list[str], context: str) -> tuple[bool, str]:
        """Run models as a run's tasks do; return whether all succeeded, and dbt's output.

        `context`: the run's context as JSON, as in MEDALLION_RUN.
        """
        with mock.patch.dict(os.environ, {"MEDALLION_RUN": context}):
            done, output = self._invoke(engine, self.manifests[engine], "run", "--select", *selected)
        return done.success, output

    def invoke(self, engine: str, *arguments: str) -> Any:
        """Run any command of dbt by hand, without a run; return dbt's result."""
        return self._invoke(engine, self.manifests[engine], *arguments)[0]

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
