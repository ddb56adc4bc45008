"""The command lines of the Spark jobs, and the run's context, which is one of their arguments."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from medallion_spark.compaction import Table, compact
from medallion_spark.run import RunContext

JOBS = Path(__file__).parents[2] / "include" / "spark_jobs"
CONTEXT = {
    "kind": "scheduled", "batch": 7, "published_batch": 5, "rebuild": "none", "outdated": [], "snapshots": {},
    "lake_catalog": "lake", "gold_catalog": "gold", "target_file_bytes": 1024,
}  # fmt: skip


def test_context_takes_its_fields_and_ignores_others() -> None:
    assert RunContext.from_json(json.dumps(CONTEXT)) == RunContext(7, 5, "none", [], "lake", 1024)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch 7", "no JSON"),
        ("[7]", "must be a JSON object"),
        (json.dumps({"batch": 7, "rebuild": "none"}), "lacks published_batch, outdated, lake_catalog"),
        (json.dumps(CONTEXT | {"batch": "7"}), "batch of the run's context must be of type int, and is '7'"),
        (json.dumps(CONTEXT | {"lake_catalog": None}), "lake_catalog of the run's context must be of type str"),
        (json.dumps(CONTEXT | {"outdated": ""}), "outdated of the run's context must be of type list, and is ''"),
    ],
)  # fmt: skip
def test_context_that_cannot_be_used_is_explained(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunContext.from_json(text)


def run_job(job: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, JOBS / job, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("job", "arguments", "message"),
    [
        ("build_entities.py", ["--run", "{}", "--entity", "{}"], "argument --run: The run's context lacks batch"),
        ("build_entities.py", ["--run", json.dumps(CONTEXT), "--entity", "x"], "argument --entity: The declaration"),
        ("compact_tables.py", ["--min-input-files", "5", "--run", "{", "--tables", "[]"], "argument --run: The run's"),
    ],
)  # fmt: skip
def test_wrong_argument_is_explained_before_spark_starts(
    job: str, arguments: list[str], message: str
) -> None:
    done = run_job(job, *arguments)
    assert done.returncode == 2 and message in done.stderr


def test_nothing_to_compact_starts_no_spark() -> None:
    done = run_job(
        "compact_tables.py", "--run", json.dumps(CONTEXT), "--tables", "[]", "--min-input-files", "5"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_compaction_sorts_all_files_into_one_and_changes_no_row(spark: SparkSession) -> None:
    spark.sql("create namespace if not exists lake.silver")
    spark.sql("drop table if exists lake.silver.events")
    spark.sql("create table lake.silver.events (id int, `taken at` timestamp) using iceberg")
    for number in range(3):
        spark.sql(f"insert into lake.silver.events values ({number}, timestamp '2018-01-0{3 - number}')")
    context: dict[str, Any] = CONTEXT | {"target_file_bytes": 1024 * 1024}
    table = Table("silver.events", ["taken at"], sort=True)
    assert compact(spark, RunContext.from_json(json.dumps(context)), 5, table)
    assert spark.table("lake.silver.events.files").count() == 1
    assert [row.id for row in spark.table("lake.silver.events").collect()] == [2, 1, 0]
    [order] = spark.sql("show tblproperties lake.silver.events ('sort-order')").collect()
    assert order.value == "taken at ASC NULLS FIRST"


def test_compaction_that_fails_is_logged_with_the_table(
    spark: SparkSession, caplog: pytest.LogCaptureFixture
) -> None:
    context = RunContext.from_json(json.dumps(CONTEXT))
    assert not compact(spark, context, 5, Table("silver.nowhere", [], sort=False))
    assert "silver.nowhere failed" in caplog.text
