"""The daily maintenance: it changes neither rows nor the publication, and limits the number of files."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from .conftest import Stack


@pytest.mark.long
def test_small_commits_leave_files_and_metadata_bounded(stack: Stack, tmp_path: Path) -> None:
    report = tmp_path / "figures.json"
    options = ["--commits", "500", "--rows", "2000", "--json", str(report)]
    stack.run("exec", "--", "python", "-m", "bench", "small-commits", *options)
    results = json.loads(report.read_text())
    assert [(result["maintenance"], result["layer"]) for result in results] == [
        (when, layer) for when in ("before", "after") for layer in ("bronze", "silver", "gold")
    ]
    for result in results:
        # Maintenance compacts five or more small files, so at most four remain. Until the next maintenance, up to 24
        # commits add files.
        is_maintained = result["maintenance"] == "after"
        assert result["most_small_files"] < (5 if is_maintained else 24 + 5)
        assert result["manifests"] < (10 if is_maintained else 10 + 2 * 24)


def test_daily_run_changes_neither_facts_nor_the_publication(stack: Stack, first_run: str) -> None:
    before = stack.read_published()
    facts = "select count(*), checksum(order_id), checksum(payment_value), checksum(_batch) from silver.fact_sales"
    [figures] = stack.query_trino(facts)
    stack.run("maintain")
    assert stack.query_trino(facts) == [figures]
    assert stack.read_published() == before

    order = [("order_purchase_timestamp", "ascending"), ("customer_id", "ascending")]
    for scanned in stack.catalog.load_table("silver.fact_sales").scan().plan_files():
        path = scanned.file.file_path.removeprefix("file:")
        sorted_columns = pq.ParquetFile(path).read(columns=[name for name, _ in order])
        assert sorted_columns == sorted_columns.sort_by(order), path
    [(published,)] = stack.query_audit("select published_snapshots::text from audit.pipeline")
    for name, snapshot in json.loads(published).items():
        assert stack.query_trino(f"select count(*) >= 0 from {name} for version as of {snapshot}") == [
            (True,)
        ]
    assert stack.query_audit("select lease_run_id from audit.pipeline") == [(None,)]
    tasks = stack.query_audit(
        "select task_id from audit.data_pipeline_runs"
        " where dag_id = ''medallion_maintenance'' and status = ''success'' group by 1 order by 1"
    )
    assert tasks == [("compact",), ("end",), ("expire",), ("measure",), ("prune",)]
