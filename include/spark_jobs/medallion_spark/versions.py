"""Turn row versions of bronze into rows of silver, in pure steps from DataFrame to DataFrame.

`select_versions` runs the entity's select, and `convert_and_validate` converts its values and applies the entity's
rules. `resolve_versions` joins the versions with the rows of silver that have the same keys and decides each row's
state; `select_changes`, `select_quarantine` and `ACCOUNTS` are what a run writes.
"""

from collections.abc import Iterable, Mapping
from functools import reduce
from itertools import chain
from operator import and_

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from medallion_spark.conversion import ConversionError, convert, given, spark_type
from medallion_spark.entity import CHANGED_AT, GIVEN_PREFIX, Entity
from medallion_spark.sql import column, quote

# Prefix of the flags that say which optional columns lost their value.
UNPARSABLE_PREFIX = "unparsable_"
BRONZE_BOOKKEEPING = ("_op", "_hash", "_extracted_at", "_batch")
# Bronze keeps here, as JSON, the values that do not fit into the type of their own column, which is then null.
UNKEPT = "_unkept"
# Columns that are added to every select, name -> name in the view that it reads: bookkeeping of bronze, and three that
# `select_versions` computes.
CARRIED = {CHANGED_AT: CHANGED_AT, "_op": "_op", "_hash": "_hash", "_extracted_at": "_extracted_at"} | {
    "_version_batch": "_batch", "_row": "_medallion_row", "_raw_key": "_medallion_raw_key", UNKEPT: "_medallion_unkept",
}  # fmt: skip

# ORDER: the columns that order versions, the most significant one first. IDENTITY: versions that agree in these columns
# are the same.
ORDER = (CHANGED_AT, "_version_batch", "_is_delete", "_hash")
IDENTITY = (CHANGED_AT, "_is_delete", "_hash")

# Aggregates over the rows of `resolve_versions`. `read` counts the versions, and is the sum of the next four. The last
# three count keys.
ACCOUNTS = {
    "read": "count_if(_is_new)",
    "current": "count_if(_is_new and not _is_rejected and _decides and _state = 'current')",
    "deleted": "count_if(_is_new and _is_delete)",
    "superseded": "count_if(_is_new and not _is_delete and not _is_rejected"
    " and not (_decides and _state = 'current'))",
    "quarantined": "count_if(_is_new and _is_rejected)",
    "latest": "count_if(_decides and _state in ('current', 'rejected'))",
    "rejected_latest": "count_if(_decides and _state = 'rejected')",
    "unparsable_latest": "count_if(_decides and _state = 'current'"
    f" and exists(_flags, flag -> startswith(flag, '{UNPARSABLE_PREFIX}')))",
}

BOOKKEEPING_TYPES = {
    CHANGED_AT: ("timestamp", "when the source last changed the row"),
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


def _given(name: str) -> Column:
    return column(GIVEN_PREFIX + name)


def _is_unparsable(name: str, entity: Entity) -> Column:
    """Return whether a value was lost, by the conversion here or in bronze.

    If the select reads `_unkept`, it handles the values that were lost in bronze itself.
    """
    is_lost_here = _given(name).isNotNull() & column(name).isNull()
    reads = entity.reads[name]
    if UNKEPT in reads or not reads:
        return is_lost_here
    is_lost_in_bronze = F.arrays_overlap(UNKEPT, F.array(*map(F.lit, reads)))
    return is_lost_here | F.coalesce(is_lost_in_bronze, F.lit(False))


def staging_columns(entity: Entity) -> dict[str, tuple[str, str]]:
    """Return the columns of the entity's table, in order: name to SQL type and comment."""
    declared = {
        name: (spark_type(data_type), entity.descriptions[name]) for name, data_type in entity.columns.items()
    }
    return declared | BOOKKEEPING_TYPES


def check_columns(bronze: DataFrame, table: str, entity: Entity) -> None:
    """Raise ValueError naming the columns that the entity's select reads and its bronze table lacks."""
    needed = dict.fromkeys([*chain(*entity.reads.values()), *entity.natural_key, CHANGED_AT])
    needed.pop(UNKEPT, None)  # tables of version 0.2 and earlier lack it until their task has run
    if missing := [name for name in needed if name not in bronze.columns]:
        raise ValueError(
            f"{table} lacks {', '.join(missing)}, which the select of {entity.staging_name} reads: put the column back"
            " at the source, or take it out of the select"
        )


def select_versions(bronze: DataFrame, entity: Entity) -> DataFrame:
    """Run the entity's select over bronze versions.

    In: rows of the entity's bronze table. Out: one row per version, with the select's columns and those of CARRIED:
    `_row` has the source's columns as JSON, `_raw_key` the natural key as the source spells it, `_unkept` the names of
    the columns whose value bronze could not keep.
    """
    if UNKEPT not in bronze.columns:
        bronze = bronze.withColumn(UNKEPT, F.lit(None).cast("string"))
    source = [column(name) for name in bronze.columns if name not in BRONZE_BOOKKEEPING]
    # Spark's default formats cut times to milliseconds; bronze has microseconds. X is the offset: Z in UTC.
    row = F.to_json(
        F.struct(*source),
        {
            "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSX",
            "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
            "timeZone": "UTC",
        },
    )
    view = f"medallion_{entity.name}"
    bronze.withColumns(
        {
            CARRIED["_row"]: row,
            CARRIED["_raw_key"]: _json_array(entity.natural_key),
            CARRIED[UNKEPT]: F.json_object_keys(UNKEPT),
        }
    ).createOrReplaceTempView(view)
    carried = ", ".join(f"{quote(name)} as {quote(alias)}" for alias, name in CARRIED.items())
    # The line break before `from` ends a comment that the select may end with.
    return bronze.sparkSession.sql(
        f"select {carried},\n{entity.projection}\nfrom {view} as {quote(entity.alias)}"
    )


def convert_and_validate(selected: DataFrame, entity: Entity) -> DataFrame:
    """Convert the values of an entity's select to their declared types, and apply the entity's rules.

    In: rows of `select_versions`. Out: one row per version, with these columns:

    the entity's declared columns: all but the key are null unless the version is an accepted upsert.
    `_has_key`: whether the key could be converted.
    `_key`: identity of the converted key, or of the version if the key could not be converted.
    `_row`: the source's columns as JSON, for rejected versions only.
    CHANGED_AT, `_raw_key`, `_rules`, `_flags`, `_op`, `_hash`, `_version_batch`, `_extracted_at`.

    Raises ValueError if the select returns a column in a type that can't become the declared one.
    """
    types = {field.name: field.dataType for field in selected.schema}
    converted = {}
    for name, data_type in entity.columns.items():
        try:
            converted[name] = convert(_given(name), types[name], data_type)
        except ConversionError as error:
            raise ValueError(
                f"{entity.staging_name}.{name}: {error}. Convert it in the select, or declare another data_type"
            ) from error
    parsed = selected.select(
        *CARRIED,
        *(given(column(name), types[name]).alias(GIVEN_PREFIX + name) for name in entity.columns),
    ).withColumns(converted)

    is_upsert = F.col("_op") == "upsert"
    optional = [name for name in entity.columns if name not in entity.never_null]
    judged = parsed.withColumns(
        {
            "_rules": _select_names(
                {
                    f"{name}_missing": is_upsert & _given(name).isNull() & ~_is_unparsable(name, entity)
                    for name in entity.never_null
                }
                | {
                    f"{name}_unparsable": is_upsert & _is_unparsable(name, entity)
                    for name in entity.never_null
                }
                | {rule: is_upsert & ~F.expr(condition) for rule, condition in entity.checks.items()}
            ),
            "_flags": _select_names(
                {f"{UNPARSABLE_PREFIX}{name}": _is_unparsable(name, entity) for name in optional}
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
        CHANGED_AT,
        "_raw_key",
        F.when(has_key, _json_array(entity.key))
        .otherwise(_json_array(("_raw_key", CHANGED_AT, "_op", "_hash")))
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
    """Add `_key`, the identity of the parsed key, to rows of the entity's table, as `convert_and_validate` does."""
    return silver.withColumn("_key", _json_array(entity.key))


def resolve_versions(versions: DataFrame, existing: DataFrame | None) -> DataFrame:
    """Decide the state of each row version, given the rows of silver that have the same parsed keys.

    In: `versions` from `convert_and_validate`; `existing` from `with_parsed_key`, with every row of each parsed key in
    `versions`, None if silver has none. Out: a row per version (`_is_new`) and per existing row, with these columns:

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
    # If a version is read again, it wins over its row in silver, which is equal.
    latest_first = of_raw_key.orderBy(*(F.desc(name) for name in (*ORDER, "_is_new")))
    silver_now = F.struct("_state", "_first_extracted_at", *ORDER)

    history = versions.withColumn("_is_new", F.lit(True)).withColumnRenamed(
        "_extracted_at", "_first_extracted_at"
    )
    if existing is None:
        history = history.withColumn("_state", F.lit(None).cast("string"))
    else:
        history = history.unionByName(
            existing.withColumns({"_is_new": F.lit(False), "_has_key": F.lit(True)}).drop("_batch"),
            allowMissingColumns=True,
        )
    history = (
        history.withColumns(
            {"_is_delete": F.col("_op") == "delete", "_is_rejected": F.size("_rules") > 0}
        ).repartition("_key")  # one shuffle for all windows below
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
        .groupBy(F.col("_raw_key").alias("key"), CHANGED_AT, "_op", "_hash")
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
            CHANGED_AT,
            "_op",
            "_hash",
            "_latest.*",
            F.lit(batch).cast("bigint").alias("_batch"),
        )
    )
