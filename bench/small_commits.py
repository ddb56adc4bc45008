"""Measure files and read times of a table in each layer after many small commits and regular maintenance.

    make bench NAME='small-commits --commits 500'

The table of each layer starts with --rows rows and gets --commits commits of 20 new rows. The bronze table gets them in
its last partition. The silver table gets them in 16 partitions, and each commit changes 20 old rows, too. The gold
table has no partitions, and every fifth commit changes 20 old rows, too. A commit stands for an hour, so the tables are
maintained after every 24 commits, that is, once a day. Because a commit only takes seconds, snapshots are retained for
--retention seconds instead of the default of 168 hours.

Read times are medians. Each read of the table is followed by a read of a fresh table, which has the same rows but was
written in one commit. Compare the ratio of their times instead of the seconds. Needs a running stack.
"""

import json
import os
import statistics
import sys
import time
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
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
RUN = RunContext(0, 0, "none", [], "lake", TARGET_FILE_BYTES)
PARTITION_VALUES = {"bronze": "id div 50000", "silver": "id % 16", "gold": "0"}


def table_name(layer: str, fresh: bool = False) -> str:
    """Return the name of a layer's table, or with `fresh` that of the table with the same rows in one commit."""
    return f"{layer}.small_commits{'_fresh' if fresh else ''}"


def create_table(spark: SparkSession, layer: str, rows: str, fresh: bool = False) -> None:
    """Create or recreate a table in one commit. `rows`: the query of its rows."""
    spark.sql(f"drop table if exists lake.{table_name(layer, fresh)} purge")
    partitioned = f"partitioned by ({PARTITIONED_BY[layer]})" if PARTITIONED_BY[layer] else ""
    spark.sql(
        f"create table lake.{table_name(layer, fresh)} using iceberg {partitioned} tblproperties ("
        " 'format-version' = '2', 'write.merge.mode' = 'merge-on-read', 'write.parquet.compression-codec' = 'zstd'"
        f") as {rows}"
    )


def select_first_rows(layer: str, rows: int) -> str:
    """Return the Spark SQL query of the rows with which the table starts."""
    return (
        f"select id, {PARTITION_VALUES[layer]} as part, md5(cast(id as string)) as key,"
        " cast(id % 1000 as decimal(18, 2)) as amount, cast(0 as bigint) as _batch"
        f" from range({rows})"
    )


def commit(layer: str, batch: int, rows: int) -> None:
    """Write the changes of an hour into the layer's table."""
    start, name = rows + batch * ROWS_A_COMMIT, table_name(layer)
    ids = range(start, start + ROWS_A_COMMIT)
    changed = f"between {batch * 7} and {batch * 7 + ROWS_A_COMMIT - 1}"
    if layer == "silver":
        run_on_trino(f"""
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
    new = [
        {"id": number, "part": part, "key": "new", "amount": Decimal(0), "_batch": batch} for number in ids
    ]
    table.append(pa.Table.from_pylist(new, table.schema().as_arrow()))
    if layer == "gold" and batch % 5 == 0:
        run_on_trino(f"update lake.{name} set _batch = {batch} where id {changed}")


def run_on_trino(statement: str) -> None:
    """Run a statement on Trino, and wait for its end."""
    hook: Any = TrinoHook(TRINO_CONNECTION)  # type: ignore[no-untyped-call]
    cursor = hook.get_conn().cursor()
    cursor.execute(statement)
    cursor.fetchall()


def maintain(spark: SparkSession) -> None:
    """Maintain the tables as the DAG medallion_maintenance does."""
    names = [table_name(layer) for layer in PARTITIONED_BY]
    for table in maintenance.measure():
        if table["name"] in names:
            if table["compact"]:
                compacted = CompactedTable(table["name"], table["sorted_by"], table["sort"])
                compact(spark, RUN, maintenance.MIN_INPUT_FILES, compacted)
            maintenance.expire_table(load_catalog("lake").load_table(table["name"]), [], "bench")


def measure_reads(layer: str) -> tuple[float, float]:
    """Read the table and the fresh one alternately on Trino; return the median seconds of each."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(READS):
        for fresh, times in seconds.items():
            start = time.monotonic()
            run_on_trino(
                f"select checksum(key), sum(amount), sum(_batch) from lake.{table_name(layer, fresh)}"
            )
            times.append(time.monotonic() - start)
    return statistics.median(seconds[False]), statistics.median(seconds[True])


def measure(spark: SparkSession, layer: str) -> dict[str, Any]:
    """Return the figures of a layer's table: its files, the bytes of its metadata and its read times."""
    create_table(spark, layer, f"select * from lake.{table_name(layer)}", fresh=True)
    table = load_catalog("lake").load_table(table_name(layer))
    seconds, fresh_seconds = measure_reads(layer)
    return {
        "layer": layer,
        **asdict(maintenance.measure_table(table)),
        "metadata_bytes": len(table.io.new_input(table.metadata_location)),
        "seconds": seconds,
        "fresh_seconds": fresh_seconds,
        "ratio": seconds / fresh_seconds,
    }


@click.command("small-commits")
@click.option("--commits", default=500, show_default=True, help="Commits of each table.")
@click.option("--rows", default=200_000, show_default=True, help="Rows before the first commit.")
@click.option("--retention", default=60, show_default=True, help="Seconds that snapshots are retained.")
@click.option(
    "--json", "file", type=click.Path(path_type=Path), help="Write the figures into this file, too."
)
def main(commits: int, rows: int, retention: int, file: Path | None) -> None:
    """Write many small commits with maintenance; show the files and read times of a table in each layer."""
    os.environ["MEDALLION_SNAPSHOT_RETENTION"] = f"PT{retention}S"

    results: list[dict[str, Any]] = []
    builder = SparkSession.builder.master("local[2]").config("spark.ui.showConsoleProgress", False)
    with builder.getOrCreate() as spark:
        spark.sparkContext.setLogLevel("ERROR")
        for layer in PARTITIONED_BY:
            create_table(spark, layer, select_first_rows(layer, rows))
        for batch in range(commits):
            if batch and batch % DAY == 0:
                maintain(spark)
                print(f"{batch} commits", file=sys.stderr, flush=True)
            for layer in PARTITIONED_BY:
                commit(layer, batch, rows)
        for when in ("before", "after"):
            if when == "after":
                maintain(spark)
            results += [{"maintenance": when, **measure(spark, layer)} for layer in PARTITIONED_BY]
        for layer in PARTITIONED_BY:
            for fresh in (False, True):
                spark.sql(f"drop table lake.{table_name(layer, fresh)} purge")
    if file:
        file.write_text(json.dumps(results))
    table = Table(*results[0], title=f"{commits} commits, before and after the last maintenance")
    for result in results:
        table.add_row(
            *(f"{value:.2f}" if isinstance(value, float) else str(value) for value in result.values())
        )
    Console(width=200).print(table)
