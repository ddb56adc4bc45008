"""Read the dbt project from its manifest: models, entities, and the source tables that they need."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, TypeVar

from medallion.names import BRONZE, GOLD, RECONCILE_DAG, SILVER, STAGING_PREFIX, Group, lake_table, task_id
from medallion.settings import DBT_PROJECT

MANIFESTS = DBT_PROJECT / "target"
SPARK_MATERIALIZATION = "spark_job"  # materialization of the models that the Spark job builds
Result = TypeVar("Result")


class ManifestError(Exception):
    """There is no usable manifest; the message says how to build it."""


class Capture(StrEnum):
    """How bronze finds the changed rows of a source table."""

    WINDOW = "window"  # by the cursor
    FULL = "full"  # each run compares the whole table
    DAILY = "daily"  # only medallion_reconcile compares it


@dataclass(frozen=True)
class SourceTable:
    """A source table that a bronze model captures; the names are the source's own.

    model: name of the bronze model. cursor: the column that says when a row last changed, None if there is none.
    key: the natural key, by the columns' names in bronze. left_out: columns that bronze does not take. hashed: columns
    that bronze takes as a hash. zone: the zone of cursor values whose type has none. capture: how bronze finds changes.
    """

    model: str
    schema: str
    name: str
    cursor: str | None
    key: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    hashed: tuple[str, ...] = ()
    zone: str = "UTC"
    capture: Capture = Capture.WINDOW


def manifest(engine: str = "trino") -> dict[str, Any]:
    """Return dbt's manifest for an engine. Raises ManifestError if it was not built."""
    return read_manifest(MANIFESTS / engine / "manifest.json")


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the manifest of a file, read again only if the file has changed. Raises ManifestError if it is missing."""
    return _read(*_version(path))


def cached_per_manifest(engine: str) -> Callable[[Callable[[], Result]], Callable[[], Result]]:
    """Cache the result of a function that reads an engine's manifest, until the manifest is built again.

    Tasks are forked from the scheduler. It may have cached a manifest that a deployment has replaced since.
    """

    def decorate(read: Callable[[], Result]) -> Callable[[], Result]:
        cached = lru_cache(maxsize=1)(lambda version: read())
        return wraps(read)(lambda: cached(_version(MANIFESTS / engine / "manifest.json")))

    return decorate


def _version(path: Path) -> tuple[Path, int, int]:
    try:
        stat = path.stat()
    except FileNotFoundError:
        raise ManifestError(f"{path} is missing: build it with `make manifest`") from None
    return path, stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=2)
def _read(path: Path, mtime: int, size: int) -> dict[str, Any]:
    return dict(json.loads(path.read_bytes()))


def model_nodes() -> Iterator[dict[str, Any]]:
    """Yield the manifest's nodes that are models."""
    return (node for node in manifest()["nodes"].values() if node["resource_type"] == "model")


def table_of(node: dict[str, Any]) -> str:
    """Return the table of the lake that a model describes, as `schema.name`."""
    return lake_table(node["schema"], node["name"])


def schemas() -> dict[str, str]:
    """Return the schema of each model, by the model's name."""
    return {node["name"]: node["schema"] for node in model_nodes()}


def model_columns() -> dict[str, set[str]]:
    """Return the columns that each model describes, by its table of the lake."""
    return {table_of(node): set(node["columns"]) for node in model_nodes()}


def model_tables() -> set[str]:
    """Return the tables of the lake that models describe."""
    return set(model_columns())


def entities() -> list[str]:
    """Return the entities that the Spark job builds, named like their bronze tables."""
    return sorted(
        node["name"].removeprefix(STAGING_PREFIX)
        for node in model_nodes()
        if node["config"]["materialized"] == SPARK_MATERIALIZATION
    )


def inputs() -> dict[str, set[str]]:
    """Return, for each table of the lake, the tables of other models that it is built from."""
    tables = {node["unique_id"]: table_of(node) for node in model_nodes()}
    return {
        table_of(node): {tables[parent] for parent in node["depends_on"]["nodes"] if parent in tables}
        for node in model_nodes()
    }


def build_tasks() -> dict[str, str]:
    """Return, by table, the task of the hourly DAG that builds it; tables of the Spark job are left out."""
    groups = {BRONZE: Group.BRONZE, SILVER: Group.SILVER_MARTS, GOLD: Group.GOLD}
    return {
        table_of(node): task_id(groups[node["schema"]], node["name"])
        for node in model_nodes()
        if node["schema"] in groups and node["config"]["materialized"] != SPARK_MATERIALIZATION
    }


def sort_orders() -> dict[str, list[str]]:
    """Return the columns that each table's files are sorted by, as its model's YAML says (`meta.sorted_by`)."""
    return {
        table_of(node): columns
        for node in model_nodes()
        if (columns := node["config"]["meta"].get("sorted_by"))
    }


def source_tables() -> list[SourceTable]:
    """Return the source tables that bronze models capture, ordered by model.

    Raises ManifestError naming the model if a bronze model does not read exactly one source table.
    """
    sources = manifest()["sources"]
    tables = []
    for node in sorted(model_nodes(), key=lambda node: str(node["name"])):
        if node["schema"] != BRONZE:
            continue
        inputs = [sources[parent] for parent in node["depends_on"]["nodes"] if parent in sources]
        if len(inputs) != 1:
            raise ManifestError(
                f"{node['original_file_path']}: a bronze model selects from one source table, and this one from"
                f" {len(inputs)}. Write: select * from {{{{ source('<source>', '<table>') }}}}"
            )
        [source] = inputs
        meta = node["config"]["meta"]
        tables.append(
            SourceTable(
                model=node["name"],
                schema=source["schema"],
                name=source["identifier"],
                cursor=source["loaded_at_field"],
                key=tuple(meta.get("natural_key", ())),
                left_out=tuple(meta.get("leave_out", ())),
                hashed=tuple(meta.get("hash", ())),
                zone=source["meta"].get("cursor_zone", "UTC"),
                capture=capture_of(node, source),
            )
        )
    return tables


def capture_of(node: dict[str, Any], source: dict[str, Any]) -> Capture:
    """Return how a bronze model captures its table.

    The model's meta decides. Without it, a table with a cursor is captured by window, any other is compared whole.
    Raises ManifestError naming the model if its meta has an unknown value.
    """
    capture = node["config"]["meta"].get("capture")
    if capture is None:
        return Capture.WINDOW if source["loaded_at_field"] else Capture.FULL
    if capture not in (Capture.FULL, Capture.DAILY):
        raise ManifestError(
            f"{node['original_file_path']}: capture is {capture!r}. It may be full (each run compares the whole table)"
            f" or daily ({RECONCILE_DAG} compares it); leave it out to capture by the cursor, loaded_at_field."
        )
    return Capture(capture)
