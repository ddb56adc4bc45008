"""Measuring which tables need maintenance, and expiring their snapshots, with a real Iceberg catalog."""

import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import LongType, NestedField

from medallion import maintenance
from support.task_instance import MAINTENANCE, Task

from .conftest import Query, expire

SCHEMA = Schema(NestedField(1, "part", LongType()), NestedField(2, "n", LongType()))
BY_PART = PartitionSpec(PartitionField(1, 1000, IdentityTransform(), "part"))


@pytest.fixture
def lake(catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> SqlCatalog:
    """Return the catalog, with no model that declares a sort order."""
    monkeypatch.setattr(maintenance, "sort_orders", dict)
    return catalog


def append(catalog: SqlCatalog, name: str, *parts: int) -> None:
    """Append a row to each of these partitions, in one commit; each row is a small file."""
    table = catalog.create_table_if_not_exists(name, SCHEMA, partition_spec=BY_PART)
    table.append(pa.table({"part": pa.array(parts, pa.int64()), "n": pa.array(parts, pa.int64())}))


def needs_compaction(name: str) -> bool:
    [measured] = [table for table in maintenance.measure() if table["name"] == name]
    return bool(measured["compact"])


def test_five_small_files_in_one_partition_are_compacted(lake: SqlCatalog) -> None:
    for _ in range(4):
        append(lake, "bronze.readings", 1, 2, 3)
    assert not needs_compaction("bronze.readings")
    append(lake, "bronze.readings", 2)
    assert needs_compaction("bronze.readings")


def test_large_files_are_left_unchanged(lake: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "SMALL_BYTES", 10)
    for _ in range(6):
        append(lake, "silver.stg_readings", 1)
    assert not needs_compaction("silver.stg_readings")


def test_many_small_manifests_are_merged(lake: SqlCatalog) -> None:
    for part in range(9):
        append(lake, "gold.readings_by_day", part)
    assert not needs_compaction("gold.readings_by_day")
    append(lake, "gold.readings_by_day", 9)
    assert needs_compaction("gold.readings_by_day")


def test_table_of_another_order_than_its_model_says_is_sorted(
    lake: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(lake, "silver.fact_readings", 1)
    assert not needs_compaction("silver.fact_readings")
    monkeypatch.setattr(maintenance, "sort_orders", lambda: {"silver.fact_readings": ["n"]})
    assert needs_compaction("silver.fact_readings")
    with lake.load_table("silver.fact_readings").update_sort_order() as order:
        order.asc("n", IdentityTransform())
    assert not needs_compaction("silver.fact_readings")


def test_table_never_written_to_needs_nothing(lake: SqlCatalog) -> None:
    lake.create_table("gold.devices_by_site", SCHEMA)
    assert not needs_compaction("gold.devices_by_site")


def test_table_without_a_row_needs_nothing(lake: SqlCatalog) -> None:
    append(lake, "gold.readings_by_day", 1)
    lake.load_table("gold.readings_by_day").delete()
    assert lake.load_table("gold.readings_by_day").current_snapshot()
    assert not needs_compaction("gold.readings_by_day")


def test_figures_are_those_of_the_current_snapshot(lake: SqlCatalog) -> None:
    append(lake, "bronze.readings", 1, 2)
    append(lake, "bronze.readings", 2)
    figures = maintenance.measure_table(lake.load_table("bronze.readings"))
    assert (figures.data_files, figures.delete_files, figures.most_small_files) == (3, 0, 2)
    assert (figures.manifests, figures.snapshots) == (2, 2)
    on_disk = [path.stat().st_size for path in Path(lake.properties["warehouse"][7:]).rglob("*.parquet")]
    assert figures.bytes == sum(on_disk)


def test_snapshots_of_publications_within_the_retention_are_kept(
    gold: Query, lake: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(lake, "gold.readings_by_day", 1)
    needed: list[set[int]] = []
    monkeypatch.setattr(maintenance, "expire_table", lambda table, published, tag: needed.append(published))
    gold(
        "insert into audit.publications (batch, run_id, published_at, published_batch, snapshots)"
        " select n, 'a', now() - n * interval '2 days', n, jsonb_build_object('gold.readings_by_day', n)"
        " from generate_series(1, 4) as n"
    )
    gold("update audit.pipeline set published_snapshots = '{\"gold.readings_by_day\": 9}'")
    expire(Task("a", "expire", dag=MAINTENANCE), maintenance.measure())
    assert needed == [{9, 1, 2, 3}]


def test_gold_table_that_left_the_project_is_dropped_with_its_last_publication(
    gold: Query, lake: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gold.readings_by_day", "gold.old", "gold.older", "gold.by_hand", "silver.quarantine"):
        append(lake, name, 1)
    dropped: list[str] = []
    monkeypatch.setattr(maintenance, "expire_table", lambda *_: None)
    monkeypatch.setattr(maintenance, "drop_table", lambda name, _: dropped.append(name))
    gold(
        "insert into audit.publications (batch, run_id, published_at, published_batch, snapshots)"
        ' values (1, \'a\', now() - interval \'9 days\', 1, \'{"gold.old": 1, "gold.older": 1, "silver.quarantine": 1,'
        " \"gold.readings_by_day\": 1}'), (2, 'b', now() - interval '5 days', 1, '{\"gold.old\": 2}')"
    )
    expire(Task("a", "expire", dag=MAINTENANCE), maintenance.measure())
    assert dropped == ["gold.older"]


def test_tables_that_fail_are_named_together(
    lake: SqlCatalog, gold: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = {"conn_type": "trino", "host": "127.0.0.1", "port": 1, "login": "medallion"}
    monkeypatch.setenv("AIRFLOW_CONN_MEDALLION_TRINO", json.dumps(nowhere))
    for name in ("bronze.readings", "gold.readings_by_day"):
        append(lake, name, 1)
    with pytest.raises(maintenance.MaintenanceError, match=r"bronze\.readings, gold\.readings_by_day"):
        expire(Task("a", "expire", dag=MAINTENANCE), maintenance.measure())


def test_names_of_any_kind_are_quoted(lake: SqlCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    append(lake, "bronze.order", 1)
    sent: list[str] = []
    monkeypatch.setattr(maintenance, "TrinoHook", lambda connection: SimpleNamespace(run=sent.extend))
    maintenance.expire_table(lake.load_table("bronze.order"), [], "tag")
    assert 'alter table lake."bronze"."order" execute remove_orphan_files' in sent[-1]
