"""Compact tables of the lake.

    spark-submit include/spark_jobs/compact_tables.py --run "$MEDALLION_RUN" --min-input-files 5 \
        --tables '[{"name": "silver.stg_devices", "sorted_by": ["device_id"], "sort": false}]'

Iceberg's procedures do the work. Each makes one commit and changes no row, so a run that was cut off can be run again.
If `sort` is true, all files of the table are sorted, and the table gets this sort order for later writes.
"""

import argparse
import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from medallion_spark.compaction import Table, compact
from medallion_spark.run import run_argument, spark_session

SIDE_BY_SIDE = 2


def tables_argument(text: str) -> list[Table]:
    """Parse the value of `--tables`."""
    return [Table(entry["name"], entry["sorted_by"], entry["sort"]) for entry in json.loads(text)]


def main() -> None:
    """Parse the command line and compact the tables; exit with status 1 if one failed, after all others are done."""
    parser = argparse.ArgumentParser(description="Compact Iceberg tables.")
    parser.add_argument(
        "--run", required=True, type=run_argument, help="the run's context: the JSON of MEDALLION_RUN"
    )
    parser.add_argument(
        "--tables",
        required=True,
        type=tables_argument,
        help="JSON: a list of objects with name, sorted_by, sort",
    )
    parser.add_argument(
        "--min-input-files",
        required=True,
        type=int,
        help="rewrite if a partition has this many small files, or a file has this many deletes",
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("py4j").setLevel(logging.WARNING)
    if not options.tables:
        return
    with (
        spark_session("compact_tables", {}) as spark,
        ThreadPoolExecutor(SIDE_BY_SIDE) as pool,
    ):
        done = list(pool.map(partial(compact, spark, options.run, options.min_input_files), options.tables))
    if not all(done):
        sys.exit(1)


if __name__ == "__main__":
    main()
