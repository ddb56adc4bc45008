"""The silver tables that the job writes: their definitions, and merging into them."""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import and_
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

NAMESPACE = "lake.silver"
QUARANTINE = f"{NAMESPACE}.quarantine"
ACCOUNTS = f"{NAMESPACE}.entity_accounts"

# Marks, among rows to be merged, those to be deleted.
IS_GONE = "_is_gone"

QUARANTINE_KEY = ("entity", "key", "updated_at", "_op", "_hash")
QUARANTINE_COLUMNS = {
    "entity": ("string", "silver entity, named as its source table"),
    "key": ("string", "natural key as the source spells it, a JSON array"),
    "updated_at": ("timestamp", "when the source last changed the row"),
    "rules": ("array<string>", "rules that the version breaks, by name"),
    "row": ("string", "source columns as JSON, nulls left out"),
    "superseded": ("boolean", "whether another version decides what silver shows of this key"),
    "_hash": ("string", "hash of the version"),
    "_op": ("string", "upsert: deletes are never rejected"),
    "_version_batch": ("bigint", "`_batch` of the version in bronze"),
    "_batch": ("bigint", "batch of the run that last changed this row"),
}

ACCOUNTS_KEY = ("batch", "entity")
ACCOUNTS_COLUMNS = {
    "batch": ("bigint", "batch of the run"),
    "entity": ("string", "silver entity, named as its source table"),
    "read": ("bigint", "row versions read: current + deleted + superseded + quarantined"),
    "current": ("bigint", "versions that silver shows"),
    "deleted": ("bigint", "versions that are deletes"),
    "superseded": ("bigint", "accepted versions that a newer one overtook"),
    "quarantined": ("bigint", "versions that break a rule"),
    "latest": ("bigint", "keys touched whose deciding version is no delete"),
    "rejected_latest": ("bigint", "of those, keys whose deciding version breaks a rule"),
}

PROPERTIES = {
    "format-version": "2",  # the newest that every reader of ours can write
    "write.format.default": "parquet",
    "write.parquet.compression-codec": "zstd",
    "write.target-file-size-bytes": str(128 * 1024 * 1024),
    "write.merge.mode": "merge-on-read",
    "write.update.mode": "merge-on-read",
    "write.delete.mode": "merge-on-read",
    "commit.retry.num-retries": "20",  # the commit of a driver that was killed may come between
    "write.metadata.delete-after-commit.enabled": "true",
}


def ensure_table(
    spark: SparkSession, table: str, columns: Mapping[str, tuple[str, str]], partitioned_by: str | None
) -> None:
    """Create an Iceberg table, or add the columns it lacks.

    `columns` maps names to SQL type and comment. Safe beside the driver of a killed try that does the same.
    """
    definitions = {
        name: f"{name} {sql_type} comment '{comment}'" for name, (sql_type, comment) in columns.items()
    }
    if spark.catalog.tableExists(table):
        present = spark.table(table).columns
        if missing := [definition for name, definition in definitions.items() if name not in present]:
            spark.sql(f"alter table {table} add columns ({', '.join(missing)})")
        return
    properties = ", ".join(f"'{name}' = '{value}'" for name, value in PROPERTIES.items())
    try:
        spark.sql(f"create namespace if not exists {NAMESPACE}")
        spark.sql(
            f"create table if not exists {table} ({', '.join(definitions.values())}) using iceberg"
            f" {f'partitioned by ({partitioned_by})' if partitioned_by else ''} tblproperties ({properties})"
        )
    except Exception:
        if not spark.catalog.tableExists(table):
            raise


def _loaded(spark: SparkSession, table: str) -> tuple[Any, Any]:
    """Return Iceberg's own package and what it has of the table: metadata tells without a job of Spark."""
    jvm: Any = spark._jvm
    iceberg = jvm.org.apache.iceberg
    return iceberg, iceberg.spark.Spark3Util.loadIcebergTable(spark._jsparkSession, table)


def is_new(spark: SparkSession, table: str) -> bool:
    """Return whether nothing was ever written to the table, not even that it has no row."""
    _, loaded = _loaded(spark, table)
    return loaded.currentSnapshot() is None


def may_have_rows(spark: SparkSession, table: str, after: int) -> bool:
    """Return whether some file of the table may hold a row with `_batch` > `after`."""
    iceberg, loaded = _loaded(spark, table)
    newer = iceberg.expressions.Expressions.greaterThan("_batch", after)
    found = loaded.newScan().filter(newer).planFiles()
    try:
        return bool(found.iterator().hasNext())
    finally:
        found.close()


def merge(rows: DataFrame, table: str, key: Sequence[str], bounds: str) -> None:
    """Update or insert `rows`, which have all columns of `table` that are written, by `key` in one commit.

    A row whose `_is_gone`, if there is such a column, is true is deleted instead. `bounds` is an SQL condition over
    the table's columns that its rows of these keys meet: with literals in it the cost does not grow with the table.
    The matched branch also makes Iceberg notice another writer of these keys.
    """
    target = table.rpartition(".")[2]
    on = " and ".join(f"{target}.{name} = s.{name}" for name in key)
    values = {name: F.col(f"s.{name}") for name in rows.columns if name != IS_GONE}
    into = rows.alias("s").mergeInto(table, F.expr(f"{on} and {bounds}"))
    if IS_GONE in rows.columns:
        into = into.whenMatched(F.col(f"s.{IS_GONE}")).delete()
    into.whenMatched().update(values).whenNotMatched().insert(values).merge()


def merge_differing(
    rows: DataFrame,
    table: str,
    key: Sequence[str],
    bounds: str,
    keep: Sequence[str] = (),
    whole: bool = False,
) -> None:
    """Merge those of `rows` that `table` lacks or holds otherwise, `_batch` apart; without any there is no commit.

    `key` columns are not null. A null in a column of `keep` stands for the value that the table holds. With `whole`
    the rows within `bounds` whose keys are not among `rows` are deleted.
    """
    held = rows.sparkSession.table(table).where(bounds).alias("held")
    is_gone = F.col(f"s.{key[0]}").isNull()
    values = {
        name: F.coalesce(f"s.{name}", f"held.{name}") if name in key or name in keep else F.col(f"s.{name}")
        for name in rows.columns
    }
    is_same = reduce(
        and_, (value.eqNullSafe(F.col(f"held.{name}")) for name, value in values.items() if name != "_batch")
    )
    joined = rows.alias("s").join(
        held, [F.col(f"s.{name}") == F.col(f"held.{name}") for name in key], "full" if whole else "left"
    )
    pending = joined.where(is_gone | ~is_same).select(
        *(value.alias(name) for name, value in values.items()), *([is_gone.alias(IS_GONE)] if whole else [])
    )
    pending = pending.localCheckpoint()
    if not pending.isEmpty():
        merge(pending, table, key, bounds)
