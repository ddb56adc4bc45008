"""Replace slow functions of libraries in the processes that the scheduler forks; this only saves CPU time."""

import os
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import airflow.sdk.execution_time.comms
import airflow.sdk.execution_time.task_runner
import cosmos.dbt.graph
import dbt.adapters.trino.connections
import dbt_common.behavior_flags
import dbt_common.events.functions
import sqlparse
from airflow.sdk.execution_time.comms import StartupDetails, ToTask
from cosmos.operators.local import AbstractDbtLocalBase
from dbt.artifacts.resources.v1.config import Hook
from dbt.clients.jinja import get_rendered
from dbt.plugins.manager import PluginManager
from dbt_common.clients.jinja import (
    MacroFuzzEnvironment,
    MacroFuzzTemplate,
    NativeSandboxTemplate,
    get_template,
    template_cache,
)
from dbt_common.constants import SECRET_ENV_PREFIX
from dbt_common.exceptions import CompilationError
from dbt_common.utils.dict import deep_map_render
from pydantic import JsonValue, TypeAdapter

from medallion.project.manifest import read_manifest
from medallion.settings import DBT_PROJECT


def keep_compiled_templates() -> None:
    """Keep the code that Jinja makes from a text; dbt compiles every text again in each process."""
    compile_text = MacroFuzzEnvironment.compile
    # The code depends only on the text and on the environment's type: dbt sets up all environments of a type alike.
    codes: dict[tuple[type, str], Any] = {}

    def compile_once(self: MacroFuzzEnvironment, source: Any, *options: Any, **named: Any) -> Any:
        if options or named or not isinstance(source, str):
            return compile_text(self, source, *options, **named)
        key = type(self), source
        if key not in codes:
            codes[key] = compile_text(self, source)
        return codes[key]

    MacroFuzzEnvironment.compile = compile_once  # type: ignore[method-assign, assignment]


def compile_templates(manifest: Any) -> None:
    """Compile the macros, models and tests of a project; changed texts are compiled by the tasks that use them."""
    for macro in manifest.macros.values():
        template_cache.get_node_template(macro)
    for node in manifest.nodes.values():
        get_template(node.raw_code, {})
        if test := getattr(node, "test_metadata", None):
            deep_map_render(lambda value, path: compile_argument(value), test.kwargs)


def compile_argument(value: Any) -> None:
    """Compile the template of an argument of a dbt test. If it has no expression, compute its value, too."""
    if isinstance(value, str):
        with suppress(CompilationError):  # the test itself reports it
            get_template(value, {}, native=True)
            if "{" not in value:
                get_rendered(value, {}, native=True)


def share_context_of_arguments() -> None:
    """Let the templates of tests' arguments read the context of dbt in place.

    By default each argument's template copies the context, which makes an object for each of some hundred macros. dbt
    avoids the copy for all other templates.
    """
    NativeSandboxTemplate.new_context = MacroFuzzTemplate.new_context  # type: ignore[method-assign, assignment]


def name_no_sources_of_flags() -> None:
    """Skip the search for the module that defines an adapter's behavior flag; only the label of an event shows it.

    dbt searches the source files of all loaded modules, and the scheduler has loaded thousands.
    """
    rendered = dbt_common.behavior_flags.BehaviorFlagRendered
    rendered._default_source = staticmethod(lambda: "Unknown")  # type: ignore[method-assign]


def keep_plugins() -> None:
    """Keep the list of dbt's plugins; otherwise each command searches all installed packages for them."""
    modules = PluginManager.get_prefixed_modules()  # type: ignore[no-untyped-call]
    PluginManager.get_prefixed_modules = lambda: modules  # type: ignore[method-assign]


def keep_manifests() -> None:
    """Keep the manifests, and the folder name of dbt's packages; Cosmos reads both again for each group of models."""
    read_subpath = cosmos.dbt.graph.get_dbt_packages_subpath
    subpath = lru_cache(maxsize=1)(lambda folder, project: read_subpath(folder))
    cosmos.dbt.graph.get_dbt_packages_subpath = lambda folder: subpath(
        folder, (folder / "dbt_project.yml").read_bytes()
    )
    cosmos.dbt.graph.get_dbt_packages_subpath(DBT_PROJECT)

    read = cosmos.dbt.graph.DbtGraph._load_manifest_from_file
    cosmos.dbt.graph.DbtGraph._load_manifest_from_file = lambda graph, path: (
        read_manifest(path) if isinstance(path, Path) else read(graph, path)
    )


def split_no_single_statements() -> None:
    """Pass a text without separators to Trino unchanged; dbt would parse all of it to find its statements."""

    def split(sql: str) -> list[str]:
        # sqlparse also treats the word GO as a separator.
        return sqlparse.split(sql) if ";" in sql or "GO" in sql else [sql.strip()]

    dbt.adapters.trino.connections.sqlparse = SimpleNamespace(split=split)  # type: ignore[attr-defined, assignment]


def find_secrets_by_name() -> None:
    """Look for dbt's secrets by the variables' names; dbt decodes all values for each line of its log."""
    prefix = SECRET_ENV_PREFIX.encode()

    def env_secrets() -> list[str]:
        values = (os.fsdecode(os.environb[name]) for name in os.environb if name.startswith(prefix))
        return [value for value in values if value.strip()]

    dbt_common.events.functions.env_secrets = env_secrets  # type: ignore[attr-defined]


def keep_schemas() -> None:
    """Keep the schemas of messages between a task and its supervisor; Airflow makes new ones for each use."""
    adapter = cache(TypeAdapter)
    for module in (airflow.sdk.execution_time.comms, airflow.sdk.execution_time.task_runner):
        module.TypeAdapter = adapter  # type: ignore[attr-defined]
    for message in (JsonValue, StartupDetails, ToTask):
        adapter(message)
    # dbt builds the JSON schema of its hooks once per process, for `on-run-end`. The task processes that are forked
    # from this one inherit it.
    Hook.json_schema()


def read_no_lineage() -> None:
    """Keep Cosmos from reading the files from which OpenLineage could report what a task has read and written.

    Tasks write no such files, and Cosmos would notice that only after reading the project and the profiles.
    """
    AbstractDbtLocalBase._get_dbt_local_artifact_processor = staticmethod(lambda: None)


def shorten() -> None:
    """Apply all replacements."""
    keep_compiled_templates()
    share_context_of_arguments()
    name_no_sources_of_flags()
    keep_plugins()
    keep_manifests()
    split_no_single_statements()
    find_secrets_by_name()
    keep_schemas()
    read_no_lineage()
