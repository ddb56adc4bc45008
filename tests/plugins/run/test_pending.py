"""The bronze tables with unpublished rows, found in the metadata of a real Iceberg catalog."""

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowFailException
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table
from pyiceberg.types import LongType, StringType

from medallion.names import BRONZE, CHANGED_AT, lake_table
from medallion.project.declarations import IDENTITY, columns_read, declarations
from medallion.project.manifest import model_columns, model_tables, source_tables
from medallion.run.pending import tables_with_new_rows, tables_without_work
from medallion.run.state import RunState

from ..conftest import Query, create_catalog

# Columns of silver staging whose declared type is not text.
TYPES = {"read_at": pa.timestamp("us"), "amount": pa.decimal128(18, 2)}


def fill(catalog: SqlCatalog) -> None:
    """Create every model's table: bronze.readings has rows of the batches 3 and 4, the others of batch 3."""
    reads = columns_read()
    read = {
        lake_table(BRONZE, table.model): {*table.key, CHANGED_AT} | reads.get(table.model, set())
        for table in source_tables()
    }
    for name, columns in model_columns().items():
        columns = columns | read.get(name, set())
        types = {column: TYPES.get(column, pa.string()) for column in columns} | {"_batch": pa.int64()}
        if not name.startswith("silver.stg_"):
            types = dict.fromkeys(types, pa.string()) | {"_batch": pa.int64()}
        table = catalog.create_table(name, pa.schema(list(types.items())))
        for batch in [3, 4] if name == "bronze.readings" else [3]:
            table.append(row_of(batch))


def row_of(batch: int) -> pa.Table:
    return pa.table({"_batch": pa.array([batch], pa.int64())})


Run = Callable[..., RunState]


def runs_on(lake: SqlCatalog) -> Run:
    """Return a function that returns a run's state after a publication of all models.

    Its argument is the published batch: the last batch whose rows the publication has read.
    """
    current = {name: lake.load_table(name).current_snapshot() for name in model_tables()}
    snapshots = {name: snapshot.snapshot_id for name, snapshot in current.items() if snapshot}
    return lambda published_batch, **state: run_after(published_batch, **{"snapshots": snapshots} | state)


@pytest.fixture(scope="module")
def shared_lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlCatalog]:
    """Create a lake that no test may change."""
    with create_catalog(tmp_path_factory.mktemp("lake")) as catalog:
        fill(catalog)
        yield catalog


@pytest.fixture
def run(shared_lake: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Let the package read the shared lake; returns `runs_on` of that lake."""
    monkeypatch.setattr("pyiceberg.catalog.load_catalog", {"lake": shared_lake}.__getitem__)
    return runs_on(shared_lake)


@pytest.fixture
def lake(catalog: SqlCatalog) -> SqlCatalog:
    """Create a lake that the test may change."""
    fill(catalog)
    return catalog


def run_after(published_batch: int, **state: Any) -> RunState:
    """Return the state of a run under batch 5."""
    fixed: dict[str, Any] = {
        "kind": "scheduled",
        "batch": 5,
        "published_batch": published_batch,
        "publication": 4,
        "extract_from": None,
        "extract_to": None,
        "chunk_rows": 1,
        "snapshots": {},
        "rebuild": "none",
        "compare_whole": "none",
        "outdated": [],
        "tested_rows": "changed",
        "max_deleted_share": 1,
        "max_deleted_from": 1,
        "lake_catalog": "lake",
        "gold_catalog": "postgres_gold",
        "target_file_bytes": 1,
    }
    return RunState(**fixed | state)


@pytest.mark.parametrize(
    ("published_batch", "tables", "new"),
    [
        (3, ["readings"], ["readings"]),
        (3, ["devices"], []),
        (3, ["devices", "readings"], ["readings"]),
        (4, ["devices", "readings"], []),
        (2, ["devices", "readings"], ["devices", "readings"]),
    ],
)
def test_rows_above_the_published_batch_are_new(
    run: Run, published_batch: int, tables: list[str], new: list[str]
) -> None:
    assert tables_with_new_rows(run(published_batch), tables) == new


def test_table_whose_rows_are_gone_has_no_new_rows(lake: SqlCatalog) -> None:
    run = runs_on(lake)
    lake.load_table("bronze.devices").delete()
    assert tables_with_new_rows(run(2), ["devices", "readings"]) == ["readings"]


@pytest.mark.parametrize("rebuild", [{"rebuild": "gold"}, {"outdated": ["gold.readings_by_day"]}])
def test_rebuild_reads_what_is_there(run: Run, rebuild: dict[str, Any]) -> None:
    assert tables_with_new_rows(run(4, **rebuild), ["devices"]) == ["devices"]


@pytest.mark.parametrize("missing", ["gold.readings_by_day", "silver.fact_readings", "bronze.readings"])
def test_model_that_was_never_published_is_built(run: Run, missing: str) -> None:
    snapshots = run(4).snapshots
    del snapshots[missing]
    assert tables_with_new_rows(run(4, snapshots=snapshots), ["devices"]) == ["devices"]


def test_table_that_never_had_a_row_counts_as_unchanged(lake: SqlCatalog) -> None:
    run = runs_on(lake)
    lake.drop_table("silver.fact_readings")
    lake.create_table("silver.fact_readings", pa.schema([("_batch", pa.int64())]))
    snapshots = run(4).snapshots
    del snapshots["silver.fact_readings"]
    assert not tables_with_new_rows(run(4, snapshots=snapshots), ["devices"])
    lake.drop_table("silver.fact_readings")
    assert tables_with_new_rows(run(4, snapshots=snapshots), ["devices"]) == ["devices"]


@pytest.mark.parametrize("rebuild", ["none", "silver"])
def test_lake_that_is_ahead_of_the_store_is_not_read_in_part(lake: SqlCatalog, rebuild: str) -> None:
    run = runs_on(lake)
    lake.load_table("bronze.readings").append(row_of(6))
    with pytest.raises(
        AirflowFailException, match=r"lake\.bronze\.readings .* later batch than this run's, 5"
    ):
        tables_with_new_rows(run(0, rebuild=rebuild), ["devices", "readings"])


def test_missing_silver_table_is_built(lake: SqlCatalog) -> None:
    run = runs_on(lake)
    snapshots = run(4).snapshots
    del snapshots["silver.stg_devices"]
    before = run(4, snapshots=snapshots)
    lake.drop_table("silver.stg_devices")
    lake.create_table("silver.stg_devices", pa.schema([("device_id", pa.string()), ("site", pa.string())]))
    assert not tables_with_new_rows(before, ["devices", "readings"])
    lake.drop_table("silver.stg_devices")
    assert tables_with_new_rows(before, ["readings"]) == ["readings"]


def lose_column(table: Table) -> None:
    with table.update_schema() as update:
        update.delete_column("site")


def gain_column(table: Table) -> None:
    with table.update_schema() as update:
        update.add_column("colour", StringType())


def change_type(table: Table) -> None:
    with table.update_schema(allow_incompatible_changes=True) as update:
        update.delete_column("site")
    with table.update_schema() as update:
        update.add_column("site", LongType())


def change_key(table: Table) -> None:
    with table.transaction() as transaction:
        transaction.set_properties({IDENTITY: '[["site"], ["site"], null, null]'})


@pytest.mark.parametrize("change", [lose_column, gain_column, change_type, change_key])
def test_changed_declaration_has_all_compared(
    gold: Query, lake: SqlCatalog, change: Callable[[Table], None]
) -> None:
    run = runs_on(lake)
    gold("update audit.pipeline set published_snapshots = '{\"gold.readings_by_day\": 1}'")
    assert not tables_with_new_rows(run(4), ["devices", "readings"])
    change(lake.load_table("silver.stg_devices"))
    assert tables_with_new_rows(run(4), ["devices", "readings"]) == ["devices", "readings"]
    assert gold("select published_snapshots from audit.pipeline") == [({},)]


def test_table_of_its_declaration_is_unchanged(lake: SqlCatalog) -> None:
    run = runs_on(lake)
    with lake.load_table("silver.stg_devices").transaction() as transaction:
        transaction.set_properties({IDENTITY: declarations()["devices"].identity})
    assert not tables_with_new_rows(run(4), ["devices", "readings"])


def test_published_table_that_is_gone_has_all_compared(gold: Query, lake: SqlCatalog) -> None:
    run = runs_on(lake)
    gold("update audit.pipeline set published_snapshots = '{\"gold.readings_by_day\": 1}'")
    assert not tables_with_new_rows(run(4), ["devices"])
    before = run(4)
    lake.drop_table("gold.readings_by_day")
    assert tables_with_new_rows(before, ["devices"]) == ["devices"]
    assert gold("select published_snapshots from audit.pipeline") == [({},)]


def test_published_table_without_unpublished_rows_needs_no_task(lake: SqlCatalog) -> None:
    run = runs_on(lake)
    tables = ["bronze.devices", "bronze.readings"]
    assert tables_without_work(run(4), tables) == tables
    assert tables_without_work(run(3), tables) == ["bronze.devices"]
    assert tables_without_work(run(4, snapshots={"bronze.readings": 1}), tables) == ["bronze.readings"]
    with lake.load_table("bronze.readings").update_schema() as update:
        update.delete_column("reading_id")
    assert tables_without_work(run(4), tables) == ["bronze.devices"]


def test_table_of_an_earlier_version_is_upgraded_by_its_task(lake: SqlCatalog) -> None:
    """The Spark job reads a column that the table's task adds, so the task must run even without a row to capture."""
    run = runs_on(lake)
    with lake.load_table("bronze.readings").update_schema() as update:
        update.delete_column(CHANGED_AT)
    assert tables_without_work(run(4), ["bronze.devices", "bronze.readings"]) == ["bronze.devices"]
