"""From bronze row versions to silver rows: pure DataFrame -> DataFrame steps, equal for every entity.

`standardised` parses versions and applies the rules; `resolved` puts them together with the silver rows of the same
keys and decides each row's state; `changes`, `quarantine` and `ACCOUNTS` are what the run writes.
"""

from collections.abc import Iterable, Mapping
from functools import reduce
from operator import and_

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from entities import Entity
from parsing import stripped

BRONZE_BOOKKEEPING = ("_op", "_hash", "_extracted_at", "_batch")

# The version order, least significant part last, and what says that two versions are the same.
ORDER = ("updated_at", "_version_batch", "_is_delete", "_hash")
IDENTITY = ("updated_at", "_is_delete", "_hash")

# What the versions that a run read were, each once; and the keys they touched. Over `resolved` rows.
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
    "_rules": ("array<string>", "rules that the deciding version breaks, by name; empty when it is accepted"),
    "_state": ("string", "current, rejected, deleted, or superseded by another spelling of the same key"),
    "_op": ("string", "upsert or delete: what the deciding version is"),
    "_hash": ("string", "hash of the deciding version"),
    "_version_batch": ("bigint", "`_batch` of the deciding version in bronze"),
    "_first_extracted_at": ("timestamp", "when the key, however spelled, was first captured"),
    "_batch": ("bigint", "batch of the run that last changed this row"),
}


def quoted(name: str) -> str:
    """Return a column's name as Spark reads it whole: of itself it takes a dot for a field of a struct."""
    return "`" + name.replace("`", "``") + "`"


def _json_array(names: Iterable[str]) -> Column:
    return F.to_json(F.array(*(F.col(name).cast("string") for name in names)))


def _names(conditions: Mapping[str, Column]) -> Column:
    """Return the names of the conditions that are true, as an array in the order of the alphabet."""
    names = F.array(*(F.when(is_true, name) for name, is_true in sorted(conditions.items())))
    return F.array_compact(names).cast("array<string>")


def _is_unparsable(name: str) -> Column:
    return F.col(f"_text_{name}").isNotNull() & F.col(name).isNull()


def silver_columns(entity: Entity) -> dict[str, tuple[str, str]]:
    """Return the columns of the entity's table, in order: name to SQL type and comment."""
    typed = {name: (kind.sql_type, kind.comment) for name, kind in entity.columns.items()}
    return typed | BOOKKEEPING_TYPES


def check_columns(bronze: DataFrame, entity: Entity) -> None:
    """Raise ValueError naming the columns of the entity that bronze lacks."""
    if missing := [name for name in (*entity.columns, "updated_at") if name not in bronze.columns]:
        raise ValueError(
            f"{entity.bronze_table} lacks the column(s) {', '.join(missing)} that {entity.name} needs"
        )


def standardised(bronze: DataFrame, entity: Entity) -> DataFrame:
    """Parse bronze versions of an entity and apply its rules.

    In: rows of `lake.bronze.<entity>`. Out, one row per version: the entity's typed columns (beside the key null
    unless the version is an accepted upsert), `updated_at`, `_raw_key`, `_key` (identity of the parsed key, or of the
    version alone where the key is null), `_has_key` (whether it parsed), `_rules`, `_flags`, `_op`, `_hash`,
    `_version_batch`, `_extracted_at`, `_row` (JSON of the source's columns, of rejected versions only).
    """
    source = [F.col(quoted(name)) for name in bronze.columns if name not in BRONZE_BOOKKEEPING]
    # Spark's own format stops at milliseconds, which bronze does not; the X is the offset, Z in UTC.
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
        *(stripped(F.col(name).cast("string")).alias(f"_text_{name}") for name in entity.columns),
    ).withColumns({name: kind.parse(F.col(f"_text_{name}")) for name, kind in entity.columns.items()})

    is_upsert = F.col("_op") == "upsert"
    optional = [name for name in entity.columns if name not in entity.required]
    judged = parsed.withColumns(
        {
            "_rules": _names(
                {f"{name}_missing": is_upsert & F.col(f"_text_{name}").isNull() for name in entity.required}
                | {f"{name}_unparsable": is_upsert & _is_unparsable(name) for name in entity.required}
                | {
                    f"{name}_invalid": is_upsert & F.expr(condition)
                    for name, condition in entity.rejects.items()
                }
            ),
            "_flags": _names(
                {f"unparsable_{name}": _is_unparsable(name) for name in optional}
                | {name: F.expr(condition) for name, condition in entity.flags.items()}
            ),
        }
    )

    is_rejected = F.size("_rules") > 0
    is_accepted = is_upsert & ~is_rejected
    has_key = reduce(and_, (F.col(name).isNotNull() for name in entity.key))
    return judged.select(
        *(
            name if name in entity.key else F.when(is_accepted, F.col(name)).alias(name)
            for name in entity.columns
        ),
        "updated_at",
        "_raw_key",
        F.when(has_key, _json_array(entity.key))
        .otherwise(_json_array(("_raw_key", "updated_at", "_op", "_hash")))
        .alias("_key"),
        has_key.alias("_has_key"),
        "_rules",
        F.when(is_accepted, F.col("_flags")).otherwise(_names({})).alias("_flags"),
        "_op",
        "_hash",
        "_version_batch",
        "_extracted_at",
        F.when(is_rejected, F.col("_row")).alias("_row"),
    )


def stored(silver: DataFrame, entity: Entity) -> DataFrame:
    """Give rows of the entity's table the identity of their parsed key, `_key`, as `standardised` does."""
    return silver.withColumn("_key", _json_array(entity.key))


def resolved(versions: DataFrame, existing: DataFrame) -> DataFrame:
    """Decide what each row version is, given the silver rows of the same parsed keys.

    In: `versions` from `standardised`; `existing` from `stored`, every row of each parsed key in `versions`.
    Out: a row per version (`_is_new`) and per existing row, with
    `_is_delete`, `_is_rejected`: what the row is by itself; the rest are accepted;
    `_state`: of its raw key; `_first_extracted_at`: of its parsed key;
    `_decides`: whether it is what silver holds of its raw key;
    `_is_superseded`: whether another one is what silver shows;
    `_is_change`: whether silver has to take it over.

    The latest version of a raw key decides for it. Of the raw keys of one parsed key those that were deleted are
    gone, the latest of the rest decides for the parsed key, the others are superseded.
    """
    of_key = Window.partitionBy("_key")
    of_raw_key = Window.partitionBy("_key", "_raw_key")
    # A version read again wins over its silver row, which it equals.
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


def changes(rows: DataFrame, entity: Entity, batch: int) -> DataFrame:
    """Return the rows of the entity's table that differ from what it holds, from `resolved`."""
    return rows.where("_is_change").select(
        *(name for name in silver_columns(entity) if name != "_batch"),
        F.lit(batch).cast("bigint").alias("_batch"),
    )


def quarantine(rows: DataFrame, entity: Entity, batch: int) -> DataFrame:
    """Return what the quarantine must hold, from `resolved`: new rejected versions, and old ones of their keys.

    Of an old one `row` is null (silver doesn't hold it): only its `superseded` may be news. Each is told, whether it
    is or not: a run that was cut off may have told another one, and not the entity's table.
    """
    return (
        rows.where("_is_rejected")
        .groupBy(F.col("_raw_key").alias("key"), "updated_at", "_op", "_hash")
        .agg(
            # The version itself rather than its silver row, and as bronze stamped it last.
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
