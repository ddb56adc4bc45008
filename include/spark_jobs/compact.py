"""Compacts tables: small files and deletes become files of the target size, sorted where the table is to be.

    spark-submit include/spark_jobs/compact.py --target-bytes 134217728 --min-input-files 5 \
        --tables '[{"name": "silver.fact_sales", "sorted_by": ["order_purchase_timestamp"], "sort": false}]'

Iceberg's procedures do the work, one commit each, which changes no row: so a run that was cut off anywhere is
finished by running it again. With `sort` true all files of a table are rewritten once, and it keeps the order from
then on.
"""

import argparse
import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from pyspark.sql import SparkSession

log = logging.getLogger("compact")

SIDE_BY_SIDE = 2


def compact(spark: SparkSession, target_bytes: int, min_input_files: int, table: dict[str, Any]) -> bool:
    """Compact one table and its manifests; log what was done. Return False, with the error logged, where it fails."""
    name, columns = table["name"], ", ".join(table["sorted_by"])
    options = {
        "target-file-size-bytes": target_bytes,
        "min-input-files": min_input_files,
        "delete-file-threshold": min_input_files,
        "remove-dangling-deletes": "true",
        "rewrite-all": str(table["sort"]).lower(),
    }
    pairs = ", ".join(f"'{option}', '{value}'" for option, value in options.items())
    order = f"strategy => 'sort', sort_order => '{columns}', " if columns else ""
    try:
        [files] = spark.sql(
            f"call lake.system.rewrite_data_files(table => 'lake.{name}', {order}options => map({pairs}))"
        ).collect()
        # Afterwards: what was cut off is sorted whole by the next run.
        if table["sort"]:
            spark.sql(f"alter table lake.{name} write distributed by partition locally ordered by {columns}")
        [manifests] = spark.sql(
            f"call lake.system.rewrite_manifests(table => 'lake.{name}', use_caching => false)"
        ).collect()
    except Exception:
        log.exception("%s failed", name)
        return False
    log.info("%s: %s, %s", name, files.asDict(), manifests.asDict())
    return True


def main() -> None:
    """Parse the command line and compact the tables; exit with status 1 if one failed, after all others are done."""
    parser = argparse.ArgumentParser(description="Compact Iceberg tables.")
    parser.add_argument(
        "--tables", required=True, type=json.loads, help="JSON: name, sorted_by, sort of each"
    )
    parser.add_argument("--target-bytes", required=True, type=int, help="size that data files should have")
    parser.add_argument(
        "--min-input-files",
        required=True,
        type=int,
        help="small files of a partition, deletes of a file to rewrite from",
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("py4j").setLevel(logging.WARNING)
    if not options.tables:
        return
    with (
        SparkSession.builder.appName("compact").getOrCreate() as spark,
        ThreadPoolExecutor(SIDE_BY_SIDE) as pool,
    ):
        done = list(
            pool.map(partial(compact, spark, options.target_bytes, options.min_input_files), options.tables)
        )
    if not all(done):
        sys.exit(1)


if __name__ == "__main__":
    main()
