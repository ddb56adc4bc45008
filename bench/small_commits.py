"""What small hourly commits make of a table of each layer, maintained once a day, and what reading it then costs.

    python -m stack exec -- python bench/small_commits.py --commits 500

Each layer's table starts with --rows rows and gets --commits commits of 20 new rows: bronze appends to its last
partition, silver merges into 16 partitions, where it changes as many rows, gold appends and every fifth commit changes
rows. After each 24 commits it is maintained, with a retention
that is as short for commits of seconds as 168 hours are for hourly ones. Read times are medians over reads in turn
with those of a table just written with the same rows: their ratio tells, not the seconds. Needs a stack that runs.
"""

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from airflow.providers.trino.hooks.trino import TrinoHook
from pyiceberg.catalog import load_catalog
from pyspark.sql import SparkSession
from rich.console import Console
from rich.table import Table

from medallion import maintenance
from medallion.run.state import TARGET_FILE_BYTES
from medallion.settings import SPARK_JOBS, TRINO_CONNECTION

sys.path.insert(0, str(SPARK_JOBS))
from medallion_spark.compaction import Table as CompactedTable
from medallion_spark.compaction import compact
from medallion_spark.run import RunContext

DAY = 24
ROWS_A_COMMIT = 20
READS = 9
PARTITIONED_BY = {"bronze": "part", "silver": "part", "gold": ""}
CONTEXT = RunContext(0, 0, "none", "lake", TARGET_FILE_BYTES)
PARTS = {"bronze": "id div 50000", "silver": "id % 16", "gold": "0"}


def name_of(layer: str, fresh: bool = False) -> str:
    """The table of a layer, or the one just written with its rows."""
    return f"{layer}.small_commits{'_fresh' if fresh else ''}"


def create(spark: SparkSession, layer: str, rows: str, fresh: bool = False) -> None:
    """Write a table anew in one commit."""
    spark.sql(f"drop table if exists lake.{name_of(layer, fresh)} purge")
    partitioned = f"partitioned by ({PARTITIONED_BY[layer]})" if PARTITIONED_BY[layer] else ""
    spark.sql(
        f"create table lake.{name_of(layer, fresh)} using iceberg {partitioned} tblproperties ("
        " 'format-version' = '2', 'write.merge.mode' = 'merge-on-read', 'write.parquet.compression-codec' = 'zstd'"
        f") as {rows}"
    )


def first_rows(layer: str, rows: int) -> str:
    """The rows that the table starts with, in Spark's words."""
    return (
        f"select id, {PARTS[layer]} as part, md5(cast(id as string)) as key,"
        " cast(id % 1000 as decimal(18, 2)) as amount, cast(0 as bigint) as _batch"
        f" from range({rows})"
    )


def commit(layer: str, batch: int, rows: int) -> None:
    """Commit what an hour brings."""
    start, name = rows + batch * ROWS_A_COMMIT, name_of(layer)
    ids = range(start, start + ROWS_A_COMMIT)
    changed = f"between {batch * 7} and {batch * 7 + ROWS_A_COMMIT - 1}"
    if layer == "silver":
        on_trino(f"""
            merge into lake.{name} as target
            using (
                select id, id % 16 as part, 'new' as key, 0 as amount
                from unnest(sequence({ids.start}, {ids.stop - 1})) as ids (id)
                union all
                select id, part, key, amount from lake.{name} where id {changed}
            ) as incoming
            on target.id = incoming.id and target.part = incoming.part
            when matched then update set _batch = {batch}
            when not matched then insert values (incoming.id, incoming.part, incoming.key, incoming.amount, {batch})
        """)
        return
    table = load_catalog("lake").load_table(name)
    part = rows // 50_000 if layer == "bronze" else 0
    new = [{"id": each, "part": part, "key": "new", "amount": Decimal(0), "_batch": batch} for each in ids]
    table.append(pa.Table.from_pylist(new, table.schema().as_arrow()))
    if layer == "gold" and batch % 5 == 0:
        on_trino(f"update lake.{name} set _batch = {batch} where id {changed}")


def on_trino(statement: str) -> None:
    """Run a statement to its end."""
    hook: Any = TrinoHook(TRINO_CONNECTION)  # type: ignore[no-untyped-call]
    cursor = hook.get_conn().cursor()
    cursor.execute(statement)
    cursor.fetchall()


def maintain(spark: SparkSession) -> None:
    """Do what the DAG medallion_maintenance does for our tables."""
    ours = [name_of(layer) for layer in PARTITIONED_BY]
    for table in maintenance.measure():
        if table["name"] in ours:
            if table["compact"]:
                compacted = CompactedTable(table["name"], table["sorted_by"], table["sort"])
                compact(spark, CONTEXT, maintenance.MIN_INPUT_FILES, compacted)
            maintenance.expire_table(load_catalog("lake").load_table(table["name"]), [], "bench")


def read_seconds(layer: str) -> tuple[float, float]:
    """The median seconds that Trino takes to read the whole table, and the fresh one, in turn."""
    taken: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(READS):
        for fresh, times in taken.items():
            began = time.monotonic()
            on_trino(f"select checksum(key), sum(amount), sum(_batch) from lake.{name_of(layer, fresh)}")
            times.append(time.monotonic() - began)
    return statistics.median(taken[False]), statistics.median(taken[True])


def measured(spark: SparkSession, layer: str) -> dict[str, Any]:
    """What the table consists of, with the bytes of its metadata, and what it costs to read it."""
    create(spark, layer, f"select * from lake.{name_of(layer)}", fresh=True)
    table = load_catalog("lake").load_table(name_of(layer))
    seconds, fresh = read_seconds(layer)
    return {
        "layer": layer,
        **asdict(maintenance.measure_table(table)),
        "metadata_bytes": len(table.io.new_input(table.metadata_location)),
        "seconds": seconds,
        "fresh_seconds": fresh,
        "ratio": seconds / fresh,
    }


def main() -> None:
    """Parse the command line, do it, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commits", type=int, default=500, help="per table (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=200_000, help="before the first (default: %(default)s)")
    parser.add_argument("--retention", type=int, default=60, help="seconds that snapshots are kept")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures into FILE, too")
    options = parser.parse_args()
    os.environ["MEDALLION_SNAPSHOT_RETENTION"] = f"PT{options.retention}S"

    results: list[dict[str, Any]] = []
    builder = SparkSession.builder.master("local[2]").config("spark.ui.showConsoleProgress", False)
    with builder.getOrCreate() as spark:
        spark.sparkContext.setLogLevel("ERROR")
        for layer in PARTITIONED_BY:
            create(spark, layer, first_rows(layer, options.rows))
        for batch in range(options.commits):
            if batch and batch % DAY == 0:
                maintain(spark)
                print(f"{batch} commits", file=sys.stderr, flush=True)
            for layer in PARTITIONED_BY:
                commit(layer, batch, options.rows)
        for when in ("before", "after"):
            if when == "after":
                maintain(spark)
            results += [{"maintenance": when, **measured(spark, layer)} for layer in PARTITIONED_BY]
        for layer in PARTITIONED_BY:
            for fresh in (False, True):
                spark.sql(f"drop table lake.{name_of(layer, fresh)} purge")
    if options.json:
        options.json.write_text(json.dumps(results))
    shown = Table(
        *results[0], title=f"{options.commits} commits; the last maintenance is yet to come, and done"
    )
    for result in results:
        shown.add_row(*(f"{each:.2f}" if isinstance(each, float) else str(each) for each in result.values()))
    Console(width=200).print(shown)


if __name__ == "__main__":
    main()
