"""Brings the silver entities up to date with bronze.

    spark-submit include/spark_jobs/silver.py --entities orders,order_items --batch 7 --published-batch 6

Reads the row versions that bronze got after the published batch, up to this run's batch, and merges what they change
into `lake.silver.stg_<entity>`, `lake.silver.quarantine` and `lake.silver.entity_accounts`: one commit a table, none
where nothing changed. All entities of a submit are worked out side by side before anything is written. The quarantine
comes first: it has every version that an entity's table holds as rejected. A run that was cut off anywhere is finished
by running it again. With `--rebuild silver` all of bronze decides, again in one commit a table: rows that bronze does
not account for go, rows that are right already stay untouched.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import DataFrame, Observation, Row, SparkSession
from pyspark.sql import functions as F

import tables
import versions
from entities import BUCKETS, ENTITIES, Entity

log = logging.getLogger("silver")

SETTINGS: dict[str, bool | float | int | str | None] = {
    "spark.sql.session.timeZone": "UTC",
    # The buckets are given as literals; looking for more to leave out only costs time.
    "spark.sql.optimizer.dynamicPartitionPruning.enabled": False,
    # Else each plan that is longer is a warning.
    "spark.sql.debug.maxToStringFields": 1000,
}


class SilverError(Exception):
    """The job can't go on; the message says why, and what to do."""


@dataclass(frozen=True)
class Run:
    """What one submit is asked for: versions with published_batch < `_batch` <= batch, or all up to batch."""

    spark: SparkSession
    batch: int
    published_batch: int
    rebuild: bool


@dataclass(frozen=True)
class Found:
    """What a run found out about one entity: its `resolved` rows (computed), and the condition they meet in its table.

    `is_new`: nothing was ever written to its table.
    """

    entity: Entity
    rows: DataFrame
    bounds: str
    is_new: bool


@dataclass(frozen=True)
class Outcome:
    """What was found, and the counts of it."""

    found: Found
    counts: Row

    @property
    def entity(self) -> Entity:
        """The entity."""
        return self.found.entity


@contextmanager
def blamed_on(entity: Entity) -> Iterator[None]:
    """Turn any error into a SilverError that names the entity."""
    try:
        yield
    except Exception as error:
        raise SilverError(f"{entity.name}: {error}") from error


def find(run: Run, entity: Entity) -> Found | None:
    """Decide what the new versions of an entity change; None if there are none, which metadata alone tells mostly.

    Writes nothing but the definition of the entity's table, where it is missing.
    Raises ValueError if bronze lacks the table or a column.
    """
    if not run.spark.catalog.tableExists(entity.bronze_table):
        raise ValueError(f"{entity.bronze_table} does not exist: run the bronze model {entity.name} first")
    tables.ensure_table(run.spark, entity.table, versions.silver_columns(entity), entity.partitioned_by)
    silver = run.spark.table(entity.table)
    # It may be new, or lost: what was published before must be in it, too.
    is_new = tables.is_new(run.spark, entity.table)
    whole = run.rebuild or is_new
    after = 0 if whole else run.published_batch
    bronze = run.spark.table(entity.bronze_table).where(f"_batch > {after} and _batch <= {run.batch}")
    versions.check_columns(bronze, entity)
    incoming = versions.standardised(bronze, entity)
    if whole:
        bounds = "true"
        existing = versions.stored(silver, entity).where("false")
    else:
        has_news = tables.may_have_rows(run.spark, entity.bronze_table, after)
        if not (new := touching(incoming, entity) if has_news else None):
            log.info("%s: nothing new", entity.name)
            return None
        incoming, bounds = new
        existing = versions.stored(silver.where(bounds), entity).join(incoming, "_key", "left_semi")
    # Here and below: unlike a cache a checkpoint cuts the plan, so that what reads the rows is planned quickly.
    return Found(entity, versions.resolved(incoming, existing).localCheckpoint(), bounds, is_new)


def touching(found: DataFrame, entity: Entity) -> tuple[DataFrame, str] | None:
    """Work out `found`, versions from `standardised`; None if there are none.

    Return them, and the condition, of literals, that the rows of their keys meet in the entity's table: which buckets
    they are in, where it has any.
    """
    bucket = f"lake.system.bucket({BUCKETS}, {entity.bucketed_by})" if entity.bucketed_by else "null"
    # Seen while the versions are worked out: a query more would take longer than a bucket less saves.
    seen = Observation()
    found = found.observe(
        seen, F.count("*").alias("versions"), F.bit_or(F.expr(f"shiftleft(1, {bucket})")).alias("buckets")
    ).localCheckpoint()
    if not seen.get["versions"]:
        return None
    if not entity.bucketed_by:
        return found, "true"
    # No bits at all where no key parses: such rows are in quarantine alone.
    numbers = [str(number) for number in range(BUCKETS) if (seen.get["buckets"] or 0) >> number & 1]
    column = f"stg_{entity.name}.{entity.bucketed_by}"
    return found, f"lake.system.bucket({BUCKETS}, {column}) in ({', '.join(numbers)})" if numbers else "false"


def counted(findings: Sequence[Found]) -> list[Outcome]:
    """Count what the resolved rows of each entity are, with one query over all."""
    news_at = F.when(F.col("_is_rejected"), F.unix_micros("updated_at"))
    counts = [
        found.rows.agg(
            F.lit(found.entity.name).alias("entity"),
            *(F.expr(count).alias(name) for name, count in versions.ACCOUNTS.items()),
            F.count_if("_is_change").alias("changes"),
            F.min(news_at).alias("news_from"),
            F.max(news_at).alias("news_to"),
        )
        for found in findings
    ]
    by_entity = {row.entity: row for row in reduce(DataFrame.unionAll, counts).collect()}
    return [Outcome(found, by_entity[found.entity.name]) for found in findings]


def names(outcomes: Sequence[Outcome]) -> str:
    """Return the entities' names as SQL literals."""
    return ", ".join(repr(each.entity.name) for each in outcomes)


def write_quarantine(run: Run, outcomes: list[Outcome]) -> None:
    """Bring the quarantine up to date: one commit for all entities of the submit."""
    news = [each for each in outcomes if each.counts.news_to is not None or run.rebuild]
    if not news:
        return
    tables.ensure_table(run.spark, tables.QUARANTINE, tables.QUARANTINE_COLUMNS, "entity")
    rows = reduce(
        DataFrame.unionAll, (versions.quarantine(each.found.rows, each.entity, run.batch) for each in news)
    )
    # Literal names and times keep the files of other entities, and old ones, out of it.
    bounds = f"quarantine.entity in ({names(news)})"
    if not run.rebuild:
        first = min(each.counts.news_from for each in news)
        last = max(each.counts.news_to for each in news)
        bounds += f" and quarantine.updated_at between timestamp_micros({first}) and timestamp_micros({last})"
    tables.merge_differing(
        rows, tables.QUARANTINE, tables.QUARANTINE_KEY, bounds, keep=["row"], whole=run.rebuild
    )


def write_entity(run: Run, outcome: Outcome) -> None:
    """Bring the entity's table up to date, in one commit; none if nothing changed."""
    entity = outcome.entity
    rows = versions.changes(outcome.found.rows, entity, run.batch)
    key = (entity.bucketed_by or entity.key[0], "_raw_key")
    if outcome.found.is_new:
        # Also without a row: it is new no more. A retry does the same again.
        rows.writeTo(entity.table).overwrite(F.lit(True))
    elif run.rebuild:
        tables.merge_differing(rows, entity.table, key, "true", whole=True)
    elif outcome.counts.changes:
        tables.merge(rows, entity.table, key, outcome.found.bounds)
    figures = ", ".join(f"{name} {outcome.counts[name]}" for name in versions.ACCOUNTS)
    log.info("%s: %s", entity.name, figures)


def write_accounts(run: Run, outcomes: list[Outcome]) -> None:
    """Write how many versions of each entity this run read, and what they were: one commit."""
    # By entity, with the names as literals: the files of the others are left out.
    tables.ensure_table(run.spark, tables.ACCOUNTS, tables.ACCOUNTS_COLUMNS, "entity")
    accounts = {
        (run.batch, each.entity.name, *(each.counts[name] for name in versions.ACCOUNTS)) for each in outcomes
    }
    bounds = f"entity_accounts.batch = {run.batch} and entity_accounts.entity in ({names(outcomes)})"
    held = run.spark.table(tables.ACCOUNTS).where(bounds).select(*tables.ACCOUNTS_COLUMNS)
    if pending := accounts - {tuple(row) for row in held.collect()}:
        # As SQL: rows of Python's would start a worker of Python to carry them over.
        rows = run.spark.sql(f"values {', '.join(map(str, sorted(pending)))}").toDF(*tables.ACCOUNTS_COLUMNS)
        tables.merge(rows, tables.ACCOUNTS, tables.ACCOUNTS_KEY, bounds)


def bring_up_to_date(run: Run, entities: Sequence[Entity]) -> None:
    """Do the run for `entities`, side by side; log a line for each.

    Raises SilverError that names the entity that failed and the cause. What was written till then is done again
    equally by the next try.
    """

    def each_found(entity: Entity) -> Found | None:
        with blamed_on(entity):
            return find(run, entity)

    def each_written(outcome: Outcome) -> None:
        with blamed_on(outcome.entity):
            write_entity(run, outcome)

    with ThreadPoolExecutor(len(entities)) as pool:
        findings = [found for found in pool.map(each_found, entities) if found]
        if not findings:
            return
        outcomes = counted(findings)
        write_quarantine(run, outcomes)
        list(pool.map(each_written, outcomes))
        if accounted := [each for each in outcomes if each.counts.read or run.rebuild]:
            write_accounts(run, accounted)


def main() -> None:
    """Parse the command line and do the run; exit with status 1 and the cause in the first line if it fails."""
    parser = argparse.ArgumentParser(description="Bring silver entities up to date with bronze.")
    parser.add_argument("--entities", required=True, help=f"comma-separated, of: {', '.join(ENTITIES)}")
    parser.add_argument("--batch", required=True, type=int, help="this run's batch")
    parser.add_argument(
        "--published-batch", required=True, type=int, help="read what bronze got after this batch"
    )
    parser.add_argument(
        "--rebuild",
        choices=("none", "gold", "silver"),
        default="none",
        help="silver: let all of bronze decide; none, gold: as without",
    )
    options = parser.parse_args()
    asked = options.entities.split(",")
    if unknown := [name for name in asked if name not in ENTITIES]:
        parser.error(f"no such entity: {', '.join(unknown)}; there are {', '.join(ENTITIES)}")

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("py4j").setLevel(logging.WARNING)
    try:
        with SparkSession.builder.appName("silver").config(map=SETTINGS).getOrCreate() as spark:
            run = Run(spark, options.batch, options.published_batch, options.rebuild == "silver")
            bring_up_to_date(run, [ENTITIES[name] for name in asked])
    except Exception as error:
        log.error("failed: %s", error, exc_info=True)  # the cause before the trace
        sys.exit(1)


if __name__ == "__main__":
    main()
