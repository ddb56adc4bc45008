"""The Iceberg tables of silver staging: their definitions, and how rows are merged into them."""

import logging
import re
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import and_

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion_spark.entity import CHANGED_AT
from medallion_spark.sql import column, quote, text_literal

log = logging.getLogger("build_entities")

# Column that marks the rows which a merge deletes.
IS_GONE = "_is_gone"

QUARANTINE_KEY = ("entity", "key", CHANGED_AT, "_op", "_hash")
QUARANTINE_COLUMNS = {
    "entity": ("string", "silver entity, named as its bronze model"),
    "key": ("string", "natural key as the source spells it, a JSON array"),
    CHANGED_AT: ("timestamp", "when the source last changed the row"),
    "rules": ("array<string>", "rules that the version breaks, by name"),
    "row": ("string", "source columns as JSON, nulls left out"),
    "superseded": ("boolean", "whether another version decides the state of this key in silver"),
    "_hash": ("string", "hash of the version"),
    "_op": ("string", "upsert: deletes are never rejected"),
    "_version_batch": ("bigint", "`_batch` of the version in bronze"),
    "_batch": ("bigint", "batch of the run that last changed this row"),
}

ACCOUNTS_KEY = ("batch", "entity")
ACCOUNTS_COLUMNS = {
    "batch": ("bigint", "batch of the run"),
    "entity": ("string", "silver entity, named as its bronze model"),
    "read": ("bigint", "row versions read: current + deleted + superseded + quarantined"),
    "current": ("bigint", "versions that silver shows"),
    "deleted": ("bigint", "versions that are deletes"),
    "superseded": ("bigint", "accepted versions that a newer one overtook"),
    "quarantined": ("bigint", "versions that break a rule"),
    "latest": ("bigint", "keys touched whose deciding version is no delete"),
    "rejected_latest": ("bigint", "those of them whose deciding version breaks a rule"),
    "unparsable_latest": (
        "bigint",
        "those of them whose deciding version lost a value that can't be converted",
    ),
}

PROPERTIES = {
    "format-version": "2",  # the newest that pyiceberg can write
    "write.format.default": "parquet",
    "write.parquet.compression-codec": "zstd",
    "write.merge.mode": "merge-on-read",
    "write.update.mode": "merge-on-read",
    "write.delete.mode": "merge-on-read",
    "commit.retry.num-retries": "20",  # the driver of a killed attempt may have committed in between
    "write.metadata.delete-after-commit.enabled": "true",
}


# Table property: the identity that the table was created with (see `Entity.identity`).
IDENTITY = "medallion.identity"


def create_table(
    spark: SparkSession,
    table: str,
    columns: Mapping[str, tuple[str, str]],
    partitioned_by: str | None,
    target_file_bytes: int,
    identity: str = "",
) -> None:
    """Create an Iceberg table, if it is missing; `columns` maps names to SQL type and comment.

    The driver of a killed attempt may create the same table at the same time.
    """
    definitions = ", ".join(_definition(name, *column) for name, column in columns.items())
    try:
        spark.sql(f"create namespace if not exists {table.rpartition('.')[0]}")
        spark.sql(
            f"create table if not exists {table} ({definitions})"
            f" {_layout(partitioned_by, target_file_bytes, identity)}"
        )
    except Exception:
        if not spark.catalog.tableExists(table):
            raise


def ensure_table(
    spark: SparkSession,
    table: str,
    columns: Mapping[str, tuple[str, str]],
    partitioned_by: str | None,
    target_file_bytes: int,
) -> None:
    """Create an Iceberg table, or add the columns that it lacks."""
    if not spark.catalog.tableExists(table):
        create_table(spark, table, columns, partitioned_by, target_file_bytes)
        return
    present = spark.table(table).columns
    if missing := [_definition(name, *column) for name, column in columns.items() if name not in present]:
        spark.sql(f"alter table {table} add columns ({', '.join(missing)})")


def read_properties(spark: SparkSession, table: str) -> dict[str, str]:
    """Return the properties of a table, with those that Iceberg adds, such as `current-snapshot-id`."""
    return {row.key: row.value for row in spark.sql(f"show tblproperties {table}").collect()}


def is_new(properties: Mapping[str, str]) -> bool:
    """Return whether nothing was ever written to the table of these properties, not even a commit without rows."""
    return properties["current-snapshot-id"] == "none"


def fit_table(
    spark: SparkSession,
    table: str,
    columns: Mapping[str, tuple[str, str]],
    stored: str | None,
    identity: str,
) -> list[str]:
    """Widen the types of a table that Iceberg can widen; return all other differences from its declaration.

    `stored`: the identity that the table was created with; None if an earlier release created it. A difference means
    that the table must be replaced. Nothing is changed then.
    """
    present = dict(spark.table(table).dtypes)
    changed = {
        name: (present[name], sql_type)
        for name, (sql_type, _) in columns.items()
        if name in present and present[name] != sql_type
    }
    differences = [
        f"{name} was {old}, is {new}" for name, (old, new) in changed.items() if not _widens(old, new)
    ]
    differences += [f"{name} is new" for name in columns if name not in present]
    differences += [f"{name} is no longer declared" for name in present if name not in columns]
    if stored not in (None, identity):
        differences.append(f"keys and partitions were {stored}, are {identity}")
    if differences:
        return differences
    for name, (old, new) in changed.items():
        log.info("%s: widens %s from %s to %s", table, name, old, new)
        spark.sql(f"alter table {table} alter column {quote(name)} type {new}")
    if stored is None:
        spark.sql(f"alter table {table} set tblproperties ('{IDENTITY}' = {text_literal(identity)})")
    return []


def replace_table(
    rows: DataFrame,
    table: str,
    columns: Mapping[str, tuple[str, str]],
    partitioned_by: str | None,
    target_file_bytes: int,
    identity: str,
) -> None:
    """Replace a table by `rows`, in one commit; its earlier snapshots stay readable."""
    view = f"medallion_rows_{table.rpartition('.')[2]}"
    commented = (
        column(name).alias(name, metadata={"comment": comment}) for name, (_, comment) in columns.items()
    )
    rows.select(*commented).createOrReplaceTempView(view)
    layout = _layout(partitioned_by, target_file_bytes, identity)
    rows.sparkSession.sql(f"create or replace table {table} {layout} as select * from {view}")


def _definition(name: str, sql_type: str, comment: str) -> str:
    return f"{quote(name)} {sql_type} comment {text_literal(comment)}"


def _layout(partitioned_by: str | None, target_file_bytes: int, identity: str) -> str:
    properties = PROPERTIES | {"write.target-file-size-bytes": str(target_file_bytes)}
    if identity:
        properties |= {IDENTITY: identity}
    pairs = ", ".join(f"'{name}' = {text_literal(value)}" for name, value in properties.items())
    partitions = f"partitioned by ({partitioned_by})" if partitioned_by else ""
    return f"using iceberg {partitions} tblproperties ({pairs})"


def _widens(old: str, new: str) -> bool:
    """Return whether Iceberg can widen a column's type in place."""
    if (old, new) in (("int", "bigint"), ("float", "double")):
        return True
    digits = [re.fullmatch(r"decimal\((\d+),(\d+)\)", name) for name in (old, new)]
    return bool(
        digits[0] and digits[1] and digits[0][2] == digits[1][2] and int(digits[0][1]) < int(digits[1][1])
    )


def merge(
    rows: DataFrame, table: str, key: Sequence[str], bounds: str, values_of_last: Sequence[str] | None = None
) -> None:
    """Update or insert `rows` by `key` in one commit; `rows` have all columns that are to be written.

    If `rows` have a column `_is_gone`, the keys for which it is true are deleted instead. `bounds` is an SQL condition
    that all rows of these keys in the table meet: with literals in it the cost does not grow with the table.
    `values_of_last`: all values of the key's last column in `rows`, if they are known and few. Without them Spark
    shuffles the keys of the whole table, because it can't broadcast `rows` for a join that inserts.
    The matched branch also makes Iceberg notice another writer of these keys.
    """
    target = table.rpartition(".")[2]
    on = " and ".join(f"{target}.{quote(name)} = s.{quote(name)}" for name in key)
    values = {quote(name): column(name, "s") for name in rows.columns if name != IS_GONE}
    condition = F.expr(f"{on} and {bounds}")
    if values_of_last is not None:
        condition &= column(key[-1], target).isin(*values_of_last)
    into = rows.alias("s").mergeInto(table, condition)
    if IS_GONE in rows.columns:
        into = into.whenMatched(column(IS_GONE, "s")).delete()
    into.whenMatched().update(values).whenNotMatched().insert(values).merge()


def merge_differing(
    rows: DataFrame,
    table: str,
    key: Sequence[str],
    bounds: str,
    keep: Sequence[str] = (),
    whole: bool = False,
) -> None:
    """Merge the `rows` that `table` lacks, or has with other values (`_batch` does not count).

    Makes no commit if there are none. `key` columns are not null. A null in a column of `keep` leaves the table's
    value. With `whole` the table's rows within `bounds` whose keys are not among `rows` are deleted.
    """
    existing = rows.sparkSession.table(table).where(bounds).alias("existing")
    is_gone = column(key[0], "s").isNull()
    values = {
        name: F.coalesce(column(name, "s"), column(name, "existing"))
        if name in key or name in keep
        else column(name, "s")
        for name in rows.columns
    }
    is_same = reduce(
        and_,
        (value.eqNullSafe(column(name, "existing")) for name, value in values.items() if name != "_batch"),
    )
    joined = rows.alias("s").join(
        existing, [column(name, "s") == column(name, "existing") for name in key], "full" if whole else "left"
    )
    pending = joined.where(is_gone | ~is_same).select(
        *(value.alias(name) for name, value in values.items()), *([is_gone.alias(IS_GONE)] if whole else [])
    )
    pending = pending.localCheckpoint()
    if not pending.isEmpty():
        merge(pending, table, key, bounds)
