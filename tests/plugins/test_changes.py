"""Whether bronze has news, by the metadata of a real Iceberg catalog."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from pyiceberg.catalog.sql import SqlCatalog

from medallion import spark
from medallion.changes import anything_new
from medallion.manifest import model_tables
from medallion.run_state import RunState


@pytest.fixture(autouse=True)
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlCatalog]:
    """bronze.orders holds what the batches 3 and 4 wrote, bronze.sellers what batch 3 did; customers has no row."""
    catalog = SqlCatalog("lake", uri=f"sqlite:///{tmp_path}/lake.db", warehouse=f"file://{tmp_path}")
    monkeypatch.setattr("pyiceberg.catalog.load_catalog", {"lake": catalog}.__getitem__)
    catalog.create_namespace("bronze")
    for name, batches in {"orders": [3, 4], "sellers": [3], "customers": []}.items():
        table = catalog.create_table(f"bronze.{name}", pa.schema([("_batch", pa.int64())]))
        for batch in batches:
            table.append(pa.table({"_batch": pa.array([batch], pa.int64())}))
    yield catalog
    catalog.close()


def run(published_batch: int, **state: Any) -> RunState:
    """A run after a publication of all models, which had read up to the batch."""
    known = {"snapshots": dict.fromkeys(model_tables(), 1), "rebuild": "none", "compare_whole": "none"}
    return RunState(
        batch=5,
        published_batch=published_batch,
        publication=4,
        extract_from=None,
        extract_to=None,
        chunk_rows=1,
        **known | state,
    )


@pytest.mark.parametrize(
    ("published_batch", "tables", "new"),
    [
        (3, ["orders"], True),
        (3, ["sellers", "customers"], False),
        (3, ["sellers", "orders"], True),
        (4, ["orders", "sellers", "customers"], False),
        (2, ["sellers"], True),
    ],
)
def test_rows_above_the_published_batch_are_news(published_batch: int, tables: list[str], new: bool) -> None:
    assert anything_new(run(published_batch), tables) is new


def test_rebuild_reads_what_is_there() -> None:
    assert anything_new(run(4, rebuild="gold"), ["sellers"])


@pytest.mark.parametrize("missing", ["gold.sales_by_day", "silver.dim_sellers", "bronze.orders"])
def test_model_that_was_never_published_is_made(missing: str) -> None:
    snapshots = dict.fromkeys(model_tables() - {missing}, 1)
    assert anything_new(run(4, snapshots=snapshots), ["sellers"])


@pytest.mark.parametrize("rebuild", ["none", "silver"])
def test_lake_that_is_ahead_of_the_audit_is_not_read_in_part(lake: SqlCatalog, rebuild: str) -> None:
    lake.load_table("bronze.orders").append(pa.table({"_batch": pa.array([6], pa.int64())}))
    with pytest.raises(AirflowFailException, match=r"lake\.bronze\.orders .* later batch than this run's, 5"):
        anything_new(run(0, rebuild=rebuild), ["sellers", "orders"])


def test_spark_job_without_news_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark, "run_state", run)
    job = spark.EntityJobOperator(task_id="reference", entities=["sellers"])
    with pytest.raises(AirflowSkipException, match="sellers"):
        job.pre_execute({"ti": 3})  # type: ignore[typeddict-item]
    job.pre_execute({"ti": 2})  # type: ignore[typeddict-item]
