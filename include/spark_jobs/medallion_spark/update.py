"""How a run updates entities: their tables, the quarantine and the accounts."""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from medallion_spark import tables, versions
from medallion_spark.entity import CHANGED_AT, Entity
from medallion_spark.run import Run
from medallion_spark.sql import column, quote, text_literal

log = logging.getLogger("build_entities")

SETTINGS: dict[str, bool | float | int | str | None] = {
    # With this, a failing cast in a select stops the run instead of giving null, and decimals become text without
    # an exponent.
    "spark.sql.ansi.enabled": True,
    "spark.sql.session.timeZone": "UTC",
    # Literals already name the buckets to read, so a search for more partitions to skip only costs time.
    "spark.sql.optimizer.dynamicPartitionPruning.enabled": False,
    # By default Spark logs a warning for each plan with more fields than 25.
    "spark.sql.debug.maxToStringFields": 1000,
}


# For the rows of an hour, generating and compiling code takes longer than interpreting.
INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
# Above this number of versions compiled code is faster.
MANY_VERSIONS = 100_000
# Up to this number of versions Spark broadcasts their keys, instead of shuffling the table.
FEW_VERSIONS = 10_000


class EntityError(Exception):
    """An entity could not be built; the message names it, the cause, and what to do."""


@dataclass(frozen=True)
class Incoming:
    """The versions of an entity that a run reads, as `convert_and_validate` returns them.

    `is_new`: nothing was ever written to its table. `is_replaced`: the table does not fit the declaration.
    `is_whole`: all of bronze is read for a table that may have rows. Rows whose keys bronze lacks are to be deleted.
    """

    entity: Entity
    versions: DataFrame
    is_new: bool
    is_replaced: bool
    is_whole: bool

    @property
    def is_from_all_of_bronze(self) -> bool:
        """Return whether all of bronze is read, not only the versions since the last publication."""
        return self.is_new or self.is_whole


@dataclass(frozen=True)
class Touched:
    """The number of an entity's new versions, and the part of its table that they touch.

    `versions`: None if all of bronze is read. `bounds`: an SQL condition that all rows with the versions' keys meet. If
    the table has buckets, the condition lists the numbers of the keys' buckets.
    """

    versions: int | None
    bounds: str

    @property
    def is_small(self) -> bool:
        """Return whether the keys of the versions are few enough to be broadcast."""
        return self.versions is not None and self.versions <= FEW_VERSIONS


@dataclass(frozen=True)
class EntityChanges:
    """Changes of an entity: the rows of `resolve_versions`, computed, and the part of its table that they touch.

    The other fields are those of `Incoming`.
    """

    entity: Entity
    rows: DataFrame
    touched: Touched
    is_new: bool
    is_replaced: bool
    is_whole: bool


@dataclass(frozen=True)
class Outcome:
    """The changes of one entity, and their counts."""

    changes: EntityChanges
    counts: Row

    @property
    def entity(self) -> Entity:
        """The entity."""
        return self.changes.entity


@contextmanager
def errors_name(entity: Entity) -> Iterator[None]:
    """Turn any error into an EntityError that names the entity."""
    try:
        yield
    except Exception as error:
        raise EntityError(f"{entity.name}: {error}") from error


def read_versions(run: Run, entity: Entity) -> Incoming:
    """Return the converted versions that the run reads: those since the last publication, or all of bronze.

    Writes nothing but the definition of the entity's table, if it is missing.
    Raises ValueError if bronze lacks the table or a column.
    """
    spark, context = run.spark, run.context
    bronze_table, table = run.bronze_table(entity), run.staging_table(entity)
    if not spark.catalog.tableExists(bronze_table):
        raise ValueError(f"{bronze_table} does not exist: run the bronze model {entity.name} first")
    columns = versions.staging_columns(entity)
    differences: list[str] = []
    is_new = True
    if spark.catalog.tableExists(table):
        properties = tables.read_properties(spark, table)
        is_new = tables.is_new(properties)
        differences = tables.fit_table(
            spark, table, columns, properties.get(tables.IDENTITY), entity.identity
        )
    else:
        tables.create_table(
            spark, table, columns, entity.partitioned_by, context.target_file_bytes, entity.identity
        )
    if differences:
        log.info("%s: rebuilds the table, whose declaration changed: %s", entity.name, "; ".join(differences))
    # A new or lost table is built from all of bronze, and so is one whose declaration changed.
    is_whole = run.rebuilds(entity) or bool(differences)
    after = 0 if is_whole or is_new else context.published_batch
    bronze = spark.table(bronze_table).where(f"_batch > {after} and _batch <= {context.batch}")
    versions.check_columns(bronze, bronze_table, entity)
    incoming = versions.convert_and_validate(versions.select_versions(bronze, entity), entity)
    if not (is_whole or is_new):
        # Unlike a cache, a checkpoint cuts the plan, so that later queries over these rows are planned quickly.
        incoming = incoming.localCheckpoint()
    return Incoming(entity, incoming, is_new, bool(differences), is_whole)


def find_touched(run: Run, incoming: Sequence[Incoming]) -> dict[str, Touched]:
    """Return the part of each entity's table that its versions touch, by entity. One query for all."""
    transform = f"{run.context.lake_catalog}.system.bucket"
    touched = {item.entity.name: Touched(None, "true") for item in incoming}
    partial = [item for item in incoming if not item.is_from_all_of_bronze]
    if not partial:
        return touched

    def bucket(entity: Entity) -> str:
        return f"{transform}({entity.buckets}, {quote(entity.bucketed_by)})" if entity.bucketed_by else "null"

    counts = [
        item.versions.agg(
            F.lit(item.entity.name).alias("entity"),
            F.count("*").alias("versions"),
            F.bit_or(F.expr(f"shiftleft(1, {bucket(item.entity)})")).alias("buckets"),
        )
        for item in partial
    ]
    counts_of = {row.entity: row for row in reduce(DataFrame.unionAll, counts).collect()}
    for entity in (item.entity for item in partial):
        row, bounds = counts_of[entity.name], "true"
        if entity.bucketed_by:
            # If no key can be converted, no bit is set, because such versions only go to the quarantine.
            numbers = [str(number) for number in range(entity.buckets) if (row.buckets or 0) >> number & 1]
            name = f"{entity.staging_name}.{quote(entity.bucketed_by)}"
            bounds = (
                f"{transform}({entity.buckets}, {name}) in ({', '.join(numbers)})" if numbers else "false"
            )
        touched[entity.name] = Touched(row.versions, bounds)
    return touched


def resolve_entity(run: Run, incoming: Incoming, touched: Touched) -> EntityChanges:
    """Decide the changes that the versions of an entity make to its table. Writes nothing."""
    entity, existing = incoming.entity, None
    if not incoming.is_from_all_of_bronze:
        # Join by the key's columns, because `_key` takes long to compute. Both select the same rows, because a key in
        # silver has no null.
        keys = incoming.versions.select(*map(column, entity.key))
        silver = run.spark.table(run.staging_table(entity)).where(touched.bounds)
        silver = silver.join(F.broadcast(keys) if touched.is_small else keys, entity.key, "left_semi")
        existing = versions.with_parsed_key(silver, entity)
    rows = versions.resolve_versions(incoming.versions, existing).localCheckpoint()
    return EntityChanges(entity, rows, touched, incoming.is_new, incoming.is_replaced, incoming.is_whole)


def count_outcomes(changes: Sequence[EntityChanges]) -> list[Outcome]:
    """Count the resolved rows of each entity by state. One query for all entities.

    If an entity has few versions, the result lists its changed keys, too.
    """
    rejected_at = F.when(F.col("_is_rejected"), F.unix_micros(CHANGED_AT))
    counts = [
        change.rows.agg(
            F.lit(change.entity.name).alias("entity"),
            *(F.expr(count).alias(name) for name, count in versions.ACCOUNTS.items()),
            F.count_if("_is_change").alias("changes"),
            F.min(rejected_at).alias("rejected_from"),
            F.max(rejected_at).alias("rejected_to"),
            F.collect_list(
                F.when(F.col("_is_change") & F.lit(change.touched.is_small), F.col("_raw_key"))
            ).alias("changed_keys"),
        )
        for change in changes
    ]
    by_entity = {row.entity: row for row in reduce(DataFrame.unionAll, counts).collect()}
    return [Outcome(change, by_entity[change.entity.name]) for change in changes]


def ensure_table(
    run: Run, table: str, columns: dict[str, tuple[str, str]], partitioned_by: str | None
) -> None:
    """Create a table of this run's lake, or add the columns that it lacks."""
    tables.ensure_table(run.spark, table, columns, partitioned_by, run.context.target_file_bytes)


def entity_names(outcomes: Sequence[Outcome]) -> str:
    """Return the entities' names as SQL literals."""
    return ", ".join(text_literal(outcome.entity.name) for outcome in outcomes)


def write_quarantine(run: Run, outcomes: list[Outcome]) -> None:
    """Update the quarantine: one commit for the entities that are compared whole, and one for all others."""
    compared = [outcome for outcome in outcomes if outcome.changes.is_whole]
    rejecting = [
        outcome
        for outcome in outcomes
        if not outcome.changes.is_whole and outcome.counts.rejected_to is not None
    ]
    for group in (compared, rejecting):
        if group:
            write_quarantined(run, group, whole=group is compared)


def write_quarantined(run: Run, outcomes: list[Outcome], whole: bool) -> None:
    """Write the rejected versions of some entities; with `whole` delete all other rows of these entities."""
    spark = run.spark
    # Up to version 0.2 the column was called `updated_at`.
    if spark.catalog.tableExists(run.quarantine) and CHANGED_AT not in spark.table(run.quarantine).columns:
        spark.sql(f"alter table {run.quarantine} rename column updated_at to {CHANGED_AT}")
    ensure_table(run, run.quarantine, tables.QUARANTINE_COLUMNS, "entity")
    rows = reduce(
        DataFrame.unionAll,
        (
            versions.select_quarantine(outcome.changes.rows, outcome.entity, run.context.batch)
            for outcome in outcomes
        ),
    )
    # With literal names and times Iceberg skips old files and those of other entities.
    bounds = f"quarantine.entity in ({entity_names(outcomes)})"
    if not whole:
        first = min(outcome.counts.rejected_from for outcome in outcomes)
        last = max(outcome.counts.rejected_to for outcome in outcomes)
        bounds += (
            f" and quarantine.{CHANGED_AT} between timestamp_micros({first}) and timestamp_micros({last})"
        )
    tables.merge_differing(rows, run.quarantine, tables.QUARANTINE_KEY, bounds, keep=["row"], whole=whole)


def write_entity(run: Run, outcome: Outcome) -> None:
    """Update the entity's table in one commit; make no commit if nothing changed."""
    entity, table = outcome.entity, run.staging_table(outcome.entity)
    rows = versions.select_changes(outcome.changes.rows, entity, run.context.batch)
    key = (entity.bucketed_by or entity.key[0], "_raw_key")
    if outcome.changes.is_replaced:
        tables.replace_table(
            rows,
            table,
            versions.staging_columns(entity),
            entity.partitioned_by,
            run.context.target_file_bytes,
            entity.identity,
        )
    elif outcome.changes.is_new:
        # Write a new table even without rows, so that it is not new afterwards. A retry writes the same.
        rows.writeTo(table).overwrite(F.lit(True))
    elif outcome.changes.is_whole:
        tables.merge_differing(rows, table, key, "true", whole=True)
    elif outcome.counts.changes:
        touched = outcome.changes.touched
        raw_keys = outcome.counts.changed_keys if touched.is_small else None
        tables.merge(rows, table, key, touched.bounds, raw_keys)
    figures = ", ".join(f"{name} {outcome.counts[name]}" for name in versions.ACCOUNTS)
    log.info("%s: %s", entity.name, figures)


def write_accounts(run: Run, outcomes: list[Outcome]) -> None:
    """Write how many versions of each entity this run read, by state, in one commit."""
    ensure_table(run, run.accounts, tables.ACCOUNTS_COLUMNS, "entity")
    accounts = {
        (run.context.batch, outcome.entity.name, *(outcome.counts[name] for name in versions.ACCOUNTS))
        for outcome in outcomes
    }
    # With literal names Iceberg skips the files of other entities.
    bounds = f"entity_accounts.batch = {run.context.batch} and entity_accounts.entity in ({entity_names(outcomes)})"
    present = run.spark.table(run.accounts).where(bounds).select(*tables.ACCOUNTS_COLUMNS)
    if pending := accounts - {tuple(row) for row in present.collect()}:
        # The rows are SQL literals, because rows of Python objects would start a Python worker.
        rows = run.spark.sql(f"values {', '.join(map(str, sorted(pending)))}").toDF(*tables.ACCOUNTS_COLUMNS)
        tables.merge(rows, run.accounts, tables.ACCOUNTS_KEY, bounds)


def update_entities(run: Run, entities: Sequence[Entity]) -> None:
    """Update `entities` side by side, and log a line for each.

    Raises EntityError that names the entity that failed and the cause. The next attempt writes everything
    again, with the same result.
    """

    def read(entity: Entity) -> Incoming:
        with errors_name(entity):
            return read_versions(run, entity)

    def resolve(incoming: Incoming) -> EntityChanges | None:
        part = touched[incoming.entity.name]
        if part.versions == 0:
            log.info("%s: no new versions", incoming.entity.name)
            return None
        with errors_name(incoming.entity):
            return resolve_entity(run, incoming, part)

    def write(outcome: Outcome) -> None:
        with errors_name(outcome.entity):
            write_entity(run, outcome)

    interprets = run.context.published_batch > 0 and not any(run.rebuilds(entity) for entity in entities)
    if interprets:
        for name, value in INTERPRETED.items():
            run.spark.conf.set(name, value)
    with ThreadPoolExecutor(max(1, len(entities))) as pool:
        incoming = list(pool.map(read, entities))
        touched = find_touched(run, incoming)
        if interprets and sum(part.versions or 0 for part in touched.values()) > MANY_VERSIONS:
            for name in INTERPRETED:
                run.spark.conf.unset(name)
        changes = [resolved for resolved in pool.map(resolve, incoming) if resolved]
        if not changes:
            return
        outcomes = count_outcomes(changes)
        write_quarantine(run, outcomes)
        list(pool.map(write, outcomes))
        if accounted := [outcome for outcome in outcomes if outcome.counts.read or outcome.changes.is_whole]:
            write_accounts(run, accounted)
