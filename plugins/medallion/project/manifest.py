"""The dbt project as dbt parsed it beforehand: what is drawn, published and expected of the source."""

import json
from collections.abc import Iterator
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


def model_nodes() -> Iterator[dict[str, Any]]:
    """The manifest's nodes that are models."""
    return (node for node in manifest()["nodes"].values() if node["resource_type"] == "model")


def table_of(node: dict[str, Any]) -> str:
    """The table of the lake that a model describes, as `schema.name`."""
    return f"{node['schema']}.{node['name']}"


def model_columns() -> dict[str, set[str]]:
    """Table of the lake that a model describes, as `schema.name` -> the columns that it describes."""
    return {table_of(node): set(node["columns"]) for node in model_nodes()}


def model_tables() -> set[str]:
    """The tables of the lake that models describe, as `schema.name`."""
    return set(model_columns())


def entities() -> list[str]:
    """The silver entities, named as their source tables: what the Spark job makes."""
    return sorted(
        node["name"].removeprefix("stg_")
        for node in model_nodes()
        if node["config"]["materialized"] == "spark_job"
    )


def sort_orders() -> dict[str, list[str]]:
    """Table of the lake -> the columns that its files are sorted by, as its model's YAML says (`meta.sorted_by`)."""
    return {
        table_of(node): columns
        for node in model_nodes()
        if (columns := node["config"]["meta"].get("sorted_by"))
    }


def source_columns() -> dict[str, set[str]]:
    """Table of the source -> the columns that our models know."""
    return {source["name"]: set(source["columns"]) for source in manifest()["sources"].values()}
