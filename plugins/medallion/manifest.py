"""The dbt project as dbt parsed it beforehand: what is drawn, published and expected of the source."""

import json
from functools import cache
from typing import Any

from medallion.settings import DBT_PROJECT

MANIFESTS = DBT_PROJECT / "target"


class ManifestError(Exception):
    """There is no manifest; the message says how to build it."""


@cache
def manifest() -> dict[str, Any]:
    """The manifest for Trino, dbt's JSON. Raises ManifestError where it was not built."""
    path = MANIFESTS / "trino" / "manifest.json"
    try:
        return dict(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise ManifestError(f"{path} is missing: build it with `make manifest`") from None


def models() -> set[str]:
    """The tables of the lake that models describe, as `schema.name`."""
    return {
        f"{node['schema']}.{node['name']}"
        for node in manifest()["nodes"].values()
        if node["resource_type"] == "model"
    }


def entity_jobs() -> dict[str, list[str]]:
    """Spark submit -> the silver entities that it makes, as the entities' YAML says (`meta.job`)."""
    jobs: dict[str, list[str]] = {}
    for node in manifest()["nodes"].values():
        if job := node["resource_type"] == "model" and node["config"]["meta"].get("job"):
            jobs.setdefault(job, []).append(node["name"].removeprefix("stg_"))
    return {job: sorted(entities) for job, entities in sorted(jobs.items())}


def sort_orders() -> dict[str, list[str]]:
    """Table of the lake -> the columns that its files are sorted by, as its model's YAML says (`meta.sorted_by`)."""
    return {
        f"{node['schema']}.{node['name']}": columns
        for node in manifest()["nodes"].values()
        if (columns := node["resource_type"] == "model" and node["config"]["meta"].get("sorted_by"))
    }


def source_columns() -> dict[str, set[str]]:
    """Table of the source -> the columns that our models know."""
    return {source["name"]: set(source["columns"]) for source in manifest()["sources"].values()}
