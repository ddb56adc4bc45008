"""Fingerprints of the project's code: of all files, and of everything that decides the rows of a table."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medallion.names import BRONZE
from medallion.project import manifest as project
from medallion.project.manifest import SPARK_MATERIALIZATION, ManifestError, table_of
from medallion.settings import DBT_PROJECT, SPARK_JOBS

STAMP = "sources.sha256"  # file beside a manifest: the digest of the files that it was built from
DBT_PACKAGES = {"dbt", "dbt_spark", "dbt_trino"}  # their macros come with the installed packages
# Configs that decide a model's rows, and entries of its `meta` that decide only how rows are stored.
CONFIGS = ("materialized", "unique_key", "pre-hook", "post-hook")
LAYOUT = {"bucketed_by", "buckets", "partitioning", "sorted_by"}


def digest_files(folder: Path, files: Iterable[Path]) -> str:
    """Return a digest of the names and contents of files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def dbt_code() -> str:
    """Return a digest of dbt's version and of every file that a manifest is built from."""
    patterns = ("models/**/*", "macros/**/*", "tests/**/*", "*.yml")
    files = (path for pattern in patterns for path in DBT_PROJECT.glob(pattern) if path.is_file())
    return version("dbt-core") + "-" + digest_files(DBT_PROJECT, files)


def spark_code() -> str:
    """Return a digest of the Spark jobs' modules."""
    return digest_files(SPARK_JOBS, SPARK_JOBS.rglob("*.py"))


def project_code() -> str:
    """Return a digest of all files that decide the rows of tables.

    It must take only milliseconds, because every task compares it with the digest that its run began with.
    """
    return _digest([dbt_code(), spark_code()])


def table_fingerprints() -> dict[str, str]:
    """Return the fingerprint of each table, read from the manifest on disk.

    Raises ManifestError if the manifest is missing, or was built from other files than the present ones.
    """
    stamp = project.MANIFESTS / "trino" / STAMP
    # Only `make manifest` writes a stamp. A manifest without one can't be checked.
    if stamp.exists() and stamp.read_text() != dbt_code():
        raise ManifestError(
            f"The files of {DBT_PROJECT} changed after the manifest was built from them: build it again with"
            " `make manifest`. Nothing was written."
        )
    return fingerprints(project.manifest(), spark_code())


def fingerprints(manifest: Mapping[str, Any], entity_code: str) -> dict[str, str]:
    """Return, by table of silver and gold, a digest of what decides its rows. Pure.

    It covers the model's SQL, its keys, columns, types and constraints, the macros that it calls, directly or not, and
    the same of every model that it reads. `entity_code`, a digest of the Spark jobs, counts for each of their tables.
    Descriptions and tests change no row and are left out. Comments in SQL and in Python are included.
    """
    nodes, macros = manifest["nodes"], _Macros(manifest["macros"])

    @cache
    def fingerprint(unique_id: str) -> str:
        node = nodes.get(unique_id)
        if node is None or node["schema"] == BRONZE:
            return unique_id
        depends_on = node["depends_on"]
        return _digest([
            describe(node),
            entity_code if node["config"]["materialized"] == SPARK_MATERIALIZATION else "",
            macros.source_of(node),
            sorted(map(fingerprint, depends_on.get("nodes", []))),
        ])  # fmt: skip

    return {
        table_of(node): fingerprint(unique_id)
        for unique_id, node in nodes.items()
        if node["resource_type"] == "model" and node["schema"] != BRONZE
    }


def describe(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a node of the manifest itself says about its rows: its code, keys, columns and constraints."""
    config = node["config"]
    return {
        "code": node["checksum"]["checksum"],
        "config": {name: config.get(name) for name in CONFIGS},
        "meta": {name: value for name, value in config.get("meta", {}).items() if name not in LAYOUT},
        "constraints": node.get("constraints"),
        "columns": [
            {name: column.get(name) for name in ("name", "data_type", "constraints", "meta")}
            for column in node["columns"].values()
        ],
    }


class _Macros:
    """The macros of a manifest, without dbt's own."""

    def __init__(self, macros: Mapping[str, Any]) -> None:
        self.macros = {
            name: macro for name, macro in macros.items() if macro["package_name"] not in DBT_PACKAGES
        }
        # On Spark dbt calls the variant `spark__name` of a macro. The manifest for Trino does not list it as a
        # dependency, so variants are found by their name.
        self.variants: dict[str, list[str]] = {}
        for unique_id, macro in self.macros.items():
            self.variants.setdefault(macro["name"].rpartition("__")[2], []).append(unique_id)

    def source_of(self, node: Mapping[str, Any]) -> dict[str, str]:
        """Return the source of each macro that a node calls, directly or not, by the macro's id."""
        materialization = f"materialization_{node['config']['materialized']}_"
        pending = [
            *node["depends_on"]["macros"],
            *(name for name, macro in self.macros.items() if macro["name"].startswith(materialization)),
        ]
        source: dict[str, str] = {}
        while pending:
            unique_id = pending.pop()
            if unique_id in source or not (macro := self.macros.get(unique_id)):
                continue
            source[unique_id] = macro["macro_sql"]
            pending += macro["depends_on"]["macros"] + self.variants[macro["name"].rpartition("__")[2]]
        return source


def _digest(content: Any) -> str:
    # 64 bits are enough, because nobody has a reason to provoke a collision.
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
