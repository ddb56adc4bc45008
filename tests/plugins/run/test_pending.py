"""Whether bronze has news, by the metadata of a real Iceberg catalog."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from pyiceberg.catalog.sql import SqlCatalog

from medallion.project.manifest import model_columns, model_tables
from medallion.run.pending import tables_with_new_rows
from medallion.run.state import RunState
from medallion.tasks import spark

from ..conftest import Query


@pytest.fixture
def lake(catalog: SqlCatalog) -> SqlCatalog:
    """Every model's table. bronze.readings holds what the batches 3 and 4 wrote, the others what batch 3 did."""
    for name, columns in model_columns().items():
        kinds = {column: pa.string() for column in columns} | {"_batch": pa.int64()}
        table = catalog.create_table(name, pa.schema(list(kinds.items())))
        for batch in [3, 4] if name == "bronze.readings" else [3]:
            table.append(rows(batch))
    catalog.load_table("bronze.customers").delete()
    return catalog


def rows(batch: int) -> pa.Table:
    return pa.table({"_batch": pa.array([batch], pa.int64())})


Run = Callable[..., RunState]


@pytest.fixture
def run(lake: SqlCatalog) -> Run:
    """A run after a publication of all models, which had read up to the batch that it is called with."""
    current = {name: lake.load_table(name).current_snapshot() for name in model_tables()}
    snapshots = {name: snapshot.snapshot_id for name, snapshot in current.items() if snapshot}

    def run(published_batch: int, **state: Any) -> RunState:
        known = {"snapshots": snapshots, "rebuild": "none", "compare_whole": "none"}
        return RunState(
            kind="scheduled",
            batch=5,
            published_batch=published_batch,
            publication=4,
            extract_from=None,
            extract_to=None,
            chunk_rows=1,
            tested_rows="changed",
            max_deleted_share=1,
            max_deleted_from=1,
            **known | state,
        )

    return run


@pytest.mark.parametrize(
    ("published_batch", "tables", "new"),
    [
        (3, ["orders"], ["orders"]),
        (3, ["sellers", "customers"], []),
        (3, ["sellers", "orders"], ["orders"]),
        (4, ["orders", "sellers", "customers"], []),
        (2, ["sellers", "orders", "customers"], ["sellers", "orders"]),
    ],
)
def test_rows_above_the_published_batch_are_news(
    run: Run, published_batch: int, tables: list[str], new: list[str]
) -> None:
    assert tables_with_new_rows(run(published_batch), tables) == new


def test_rebuild_reads_what_is_there(run: Run) -> None:
    assert tables_with_new_rows(run(4, rebuild="gold"), ["sellers"]) == ["sellers"]


@pytest.mark.parametrize("missing", ["gold.readings_by_day", "silver.dim_sellers", "bronze.readings"])
def test_model_that_was_never_published_is_made(run: Run, missing: str) -> None:
    snapshots = run(4).snapshots
    del snapshots[missing]
    assert tables_with_new_rows(run(4, snapshots=snapshots), ["sellers"]) == ["sellers"]


def test_table_that_never_had_a_row_is_no_news(run: Run, lake: SqlCatalog) -> None:
    lake.drop_table("silver.dim_sellers")
    lake.create_table("silver.dim_sellers", pa.schema([("_batch", pa.int64())]))
    snapshots = run(4).snapshots
    del snapshots["silver.dim_sellers"]
    assert not tables_with_new_rows(run(4, snapshots=snapshots), ["sellers"])
    lake.drop_table("silver.dim_sellers")
    assert tables_with_new_rows(run(4, snapshots=snapshots), ["sellers"]) == ["sellers"]


@pytest.mark.parametrize("rebuild", ["none", "silver"])
def test_lake_that_is_ahead_of_the_audit_is_not_read_in_part(
    run: Run, lake: SqlCatalog, rebuild: str
) -> None:
    lake.load_table("bronze.readings").append(rows(6))
    with pytest.raises(AirflowFailException, match=r"lake\.bronze\.orders .* later batch than this run's, 5"):
        tables_with_new_rows(run(0, rebuild=rebuild), ["sellers", "orders"])


def test_silver_table_that_lacks_a_column_is_given_it(run: Run, lake: SqlCatalog) -> None:
    with lake.load_table("silver.stg_sellers").update_schema() as update:
        update.delete_column("seller_city")
    assert tables_with_new_rows(run(4), ["sellers", "customers"]) == ["sellers"]


def test_published_table_that_is_gone_has_all_compared(run: Run, gold: Query, lake: SqlCatalog) -> None:
    gold("update audit.pipeline set published_snapshots = '{\"gold.readings_by_day\": 1}'")
    assert not tables_with_new_rows(run(4), ["sellers"])
    before = run(4)
    lake.drop_table("gold.readings_by_day")
    assert tables_with_new_rows(before, ["sellers"]) == ["sellers"]
    assert gold("select published_snapshots from audit.pipeline") == [({},)]


def test_spark_makes_what_has_news_and_is_skipped_without(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark, "run_state", run)
    job = spark.EntitiesOperator(task_id="spark", entities=["orders", "sellers"])
    job.pre_execute({"ti": 3})  # type: ignore[typeddict-item]
    assert job.application_args[:3] == ["--entities", "orders", "--batch"]
    monkeypatch.setattr(SparkSubmitOperator, "execute", lambda self, context: None)
    assert job.execute({}) == ["stg_orders"]
    with pytest.raises(AirflowSkipException, match="nothing new"):
        job.pre_execute({"ti": 4})  # type: ignore[typeddict-item]
