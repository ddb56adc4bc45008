"""Rewrite small files and delete files of a table into files of the target size, sorted if its model says so."""

import logging
from dataclasses import dataclass

from pyspark.sql import SparkSession

from medallion_spark.run import RunContext
from medallion_spark.sql import quote, text_literal

log = logging.getLogger("compact_tables")


@dataclass(frozen=True)
class Table:
    """A table to compact: `schema.table`, the columns that sort its files, and whether to sort all files now."""

    name: str
    sorted_by: list[str]
    sort: bool


def compact(spark: SparkSession, context: RunContext, min_input_files: int, table: Table) -> bool:
    """Compact one table and its manifests; log the result. Return False, with the error logged, if it fails."""
    catalog, columns = context.lake_catalog, ", ".join(quote(name) for name in table.sorted_by)
    name = f"{catalog}.{table.name}"
    options = {
        "target-file-size-bytes": context.target_file_bytes,
        "min-input-files": min_input_files,
        "delete-file-threshold": min_input_files,
        "remove-dangling-deletes": "true",
        "rewrite-all": str(table.sort).lower(),
    }
    pairs = ", ".join(f"'{option}', '{value}'" for option, value in options.items())
    order = f"strategy => 'sort', sort_order => {text_literal(columns)}, " if columns else ""
    try:
        [files] = spark.sql(
            f"call {catalog}.system.rewrite_data_files(table => {text_literal(name)}, {order}options => map({pairs}))"
        ).collect()
        # Set the table's sort order last. If the compaction is cut off before, the next one sorts all files.
        if table.sort:
            spark.sql(f"alter table {name} write distributed by partition locally ordered by {columns}")
        [manifests] = spark.sql(
            f"call {catalog}.system.rewrite_manifests(table => {text_literal(name)}, use_caching => false)"
        ).collect()
    except Exception:
        log.exception("%s failed", table.name)
        return False
    log.info("%s: %s, %s", table.name, files.asDict(), manifests.asDict())
    return True
