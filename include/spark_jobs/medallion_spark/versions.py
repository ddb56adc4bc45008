"""From row versions in bronze to rows of silver: pure steps from DataFrame to DataFrame, the same for every entity.

`parse_and_validate` parses versions and applies the entity's rules; `resolve_versions` joins them with the rows of
silver that have the same keys and decides each row's state; `select_changes`, `select_quarantine` and `ACCOUNTS` are
what a run writes.
"""

from collections.abc import Iterable, Mapping
from functools import reduce
from operator import and_

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from medallion_spark.entity import TEXT_PREFIX, Entity
from medallion_spark.kinds import strip_blanks
from medallion_spark.sql import column

BRONZE_BOOKKEEPING = ("_op", "_hash", "_extracted_at", "_batch")

# The order of versions, most significant column first, and the columns by which two versions are the same.
ORDER = ("updated_at", "_version_batch", "_is_delete", "_hash")
IDENTITY = ("updated_at", "_is_delete", "_hash")

# Aggregates over the rows of `resolve_versions`. After `read` four outcomes add up to it, each version counted once;
# the last two count the keys that the versions touched.
ACCOUNTS = {
    "read": "count_if(_is_new)",
    "current": "count_if(_is_new and not _is_rejected and _decides and _state = 'current')",
    "deleted": "count_if(_is_new and _is_delete)",
    "superseded": "count_if(_is_new and not _is_delete and not _is_rejected"
    " and not (_decides and _state = 'current'))",
    "quarantined": "count_if(_is_new and _is_rejected)",
    "latest": "count_if(_decides and _state in ('current', 'rejected'))",
    "rejected_latest": "count_if(_decides and _state = 'rejected')",
}

BOOKKEEPING_TYPES = {
    "updated_at": ("timestamp", "when the source last changed the row"),
    "_raw_key": ("string", "natural key as the source spells it, a JSON array: one row each"),
    "_flags": ("array<string>", "doubts about an accepted row, by name"),
    "_rules": ("array<string>", "rules that the deciding version breaks, by name; empty if it is accepted"),
    "_state": ("string", "current, rejected, deleted, or superseded by another spelling of the same key"),
    "_op": ("string", "operation of the deciding version: upsert or delete"),
    "_hash": ("string", "hash of the deciding version"),
    "_version_batch": ("bigint", "`_batch` of the deciding version in bronze"),
    "_first_extracted_at": ("timestamp", "when the key, in any spelling, was first captured"),
    "_batch": ("bigint", "batch of the run that last changed this row"),
}


def _json_array(names: Iterable[str]) -> Column:
    return F.to_json(F.array(*(column(name).cast("string") for name in names)))


def _select_names(conditions: Mapping[str, Column]) -> Column:
    """Return the names of the conditions that are true, as an array in alphabetical order."""
    names = F.array(*(F.when(is_true, name) for name, is_true in sorted(conditions.items())))
    return F.array_compact(names).cast("array<string>")


def _text(name: str) -> Column:
    return column(TEXT_PREFIX + name)


def _is_unparsable(name: str) -> Column:
    return _text(name).isNotNull() & column(name).isNull()


def staging_columns(entity: Entity) -> dict[str, tuple[str, str]]:
    """Return the columns of the entity's table, in order: name to SQL type and comment."""
    typed = {name: (kind.sql_type, kind.comment) for name, kind in entity.columns.items()}
    return typed | BOOKKEEPING_TYPES


def check_columns(bronze: DataFrame, table: str, entity: Entity) -> None:
    """Raise ValueError naming the columns of the entity that its table of bronze lacks."""
    if missing := [name for name in (*entity.columns, "updated_at") if name not in bronze.columns]:
        raise ValueError(
            f"{table} lacks {', '.join(missing)}: add the column to its bronze model, or remove it from the entity"
        )


def parse_and_validate(bronze: DataFrame, entity: Entity) -> DataFrame:
    """Parse the bronze versions of an entity and apply its rules.

    In: rows of the entity's bronze table. Out: one row per version, with these columns:

    the entity's typed columns: all but the key are null unless the version is an accepted upsert.
    `_has_key`: whether the key parsed.
    `_key`: identity of the parsed key, or of the version if the key did not parse.
    `_row`: the source's columns as JSON, for rejected versions only.
    `updated_at`, `_raw_key`, `_rules`, `_flags`, `_op`, `_hash`, `_version_batch`, `_extracted_at`.
    """
    source = [column(name) for name in bronze.columns if name not in BRONZE_BOOKKEEPING]
    # Spark's default format cuts times to milliseconds; bronze has microseconds. X is the offset: Z in UTC.
    row = F.to_json(
        F.struct(*source), {"timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSX", "timeZone": "UTC"}
    )
    parsed = bronze.select(
        "updated_at",
        "_op",
        "_hash",
        "_extracted_at",
        F.col("_batch").alias("_version_batch"),
        row.alias("_row"),
        _json_array(entity.key).alias("_raw_key"),
        *(strip_blanks(column(name).cast("string")).alias(TEXT_PREFIX + name) for name in entity.columns),
    ).withColumns({name: kind.parse(_text(name)) for name, kind in entity.columns.items()})

    is_upsert = F.col("_op") == "upsert"
    optional = [name for name in entity.columns if name not in entity.required]
    judged = parsed.withColumns(
        {
            "_rules": _select_names(
                {f"{name}_missing": is_upsert & _text(name).isNull() for name in entity.required}
                | {f"{name}_unparsable": is_upsert & _is_unparsable(name) for name in entity.required}
                | {
                    f"{name}_invalid": is_upsert & F.expr(condition)
                    for name, condition in entity.rejects.items()
                }
            ),
            "_flags": _select_names(
                {f"unparsable_{name}": _is_unparsable(name) for name in optional}
                | {name: F.expr(condition) for name, condition in entity.flags.items()}
            ),
        }
    )

    is_rejected = F.size("_rules") > 0
    is_accepted = is_upsert & ~is_rejected
    has_key = reduce(and_, (column(name).isNotNull() for name in entity.key))
    return judged.select(
        *(
            column(name) if name in entity.key else F.when(is_accepted, column(name)).alias(name)
            for name in entity.columns
        ),
        "updated_at",
        "_raw_key",
        F.when(has_key, _json_array(entity.key))
        .otherwise(_json_array(("_raw_key", "updated_at", "_op", "_hash")))
        .alias("_key"),
        has_key.alias("_has_key"),
        "_rules",
        F.when(is_accepted, F.col("_flags")).otherwise(_select_names({})).alias("_flags"),
        "_op",
        "_hash",
        "_version_batch",
        "_extracted_at",
        F.when(is_rejected, F.col("_row")).alias("_row"),
    )


def with_parsed_key(silver: DataFrame, entity: Entity) -> DataFrame:
    """Add to rows of the entity's table the identity of their parsed key, `_key`, as `parse_and_validate` does."""
    return silver.withColumn("_key", _json_array(entity.key))


def resolve_versions(versions: DataFrame, existing: DataFrame) -> DataFrame:
    """Decide the state of each row version, given the rows of silver that have the same parsed keys.

    In: `versions` from `parse_and_validate`; `existing` from `with_parsed_key`, with every row of each parsed key in
    `versions`. Out: a row per version (`_is_new`) and per existing row, with these columns:

    `_is_delete`, `_is_rejected`: properties of the version itself.
    `_decides`: whether it is the deciding version of its raw key.
    `_state`: the state of its raw key.
    `_first_extracted_at`: when its parsed key was first captured.
    `_is_superseded`: whether it is not the version that silver shows for its raw key, as current or as rejected.
    `_is_change`: whether it must be written into the entity's table.

    The latest version of a raw key decides for it. Among the raw keys of one parsed key, deleted ones are gone, the
    latest of the rest decides for the parsed key, and the others are superseded.
    """
    of_key = Window.partitionBy("_key")
    of_raw_key = Window.partitionBy("_key", "_raw_key")
    # A version that is read again wins over its row in silver, which is equal.
    latest_first = of_raw_key.orderBy(*(F.desc(name) for name in (*ORDER, "_is_new")))
    silver_now = F.struct("_state", "_first_extracted_at", *ORDER)

    history = (
        versions.withColumn("_is_new", F.lit(True))
        .withColumnRenamed("_extracted_at", "_first_extracted_at")
        .unionByName(
            existing.withColumns({"_is_new": F.lit(False), "_has_key": F.lit(True)}).drop("_batch"),
            allowMissingColumns=True,
        )
        .withColumns({"_is_delete": F.col("_op") == "delete", "_is_rejected": F.size("_rules") > 0})
        .repartition("_key")  # serves all windows below: one shuffle
    )
    raw_keys = history.withColumns(
        {
            "_decides": F.row_number().over(latest_first) == 1,
            "_decider": F.first(F.struct(*IDENTITY)).over(latest_first),
            "_silver_before": F.max(F.when(~F.col("_is_new"), silver_now)).over(of_raw_key),
            "_first_extracted_at": F.min("_first_extracted_at").over(of_key),
        }
    )
    is_alive = F.col("_decides") & ~F.col("_is_delete")
    keys = raw_keys.withColumn("_winner", F.max(F.when(is_alive, F.struct(*ORDER, "_raw_key"))).over(of_key))
    state = (
        F.when(F.col("_is_delete"), "deleted")
        .when(F.col("_raw_key") != F.col("_winner._raw_key"), "superseded")
        .when(F.col("_is_rejected"), "rejected")
        .otherwise("current")
    )
    is_shown = F.col("_state").isin("current", "rejected") & (F.struct(*IDENTITY) == F.col("_decider"))
    return (
        keys.withColumn("_state", F.max(F.when(F.col("_decides"), state)).over(of_raw_key))
        .withColumn("_is_superseded", ~is_shown)
        .withColumn(
            "_is_change",
            F.col("_has_key") & F.col("_decides") & ~F.col("_silver_before").eqNullSafe(silver_now),
        )
    )


def select_changes(rows: DataFrame, entity: Entity, batch: int) -> DataFrame:
    """Return the rows of `resolve_versions` in which the entity's table must change."""
    return rows.where("_is_change").select(
        *(column(name) for name in staging_columns(entity) if name != "_batch"),
        F.lit(batch).cast("bigint").alias("_batch"),
    )


def select_quarantine(rows: DataFrame, entity: Entity, batch: int) -> DataFrame:
    """Return the rows that the quarantine must hold, from rows of `resolve_versions`: all rejected versions.

    A version that only silver holds has a null `row`; only its `superseded` may have changed. Each version is
    returned, changed or not: a run that was cut off may have written to the quarantine and not to the entity's table.
    """
    return (
        rows.where("_is_rejected")
        .groupBy(F.col("_raw_key").alias("key"), "updated_at", "_op", "_hash")
        .agg(
            # Prefer the version as read from bronze, with its latest batch there, to its row in silver.
            F.max_by(
                F.struct(
                    F.col("_rules").alias("rules"),
                    F.col("_row").alias("row"),
                    F.col("_is_superseded").alias("superseded"),
                    "_version_batch",
                ),
                F.struct("_is_new", "_version_batch"),
            ).alias("_latest")
        )
        .select(
            F.lit(entity.name).alias("entity"),
            "key",
            "updated_at",
            "_op",
            "_hash",
            "_latest.*",
            F.lit(batch).cast("bigint").alias("_batch"),
        )
    )
