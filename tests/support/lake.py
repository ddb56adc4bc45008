"""A small lake: tests write versions into bronze, run the Spark job, and read silver."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from medallion_spark.entity import CHANGED_AT, Entity
from medallion_spark.run import Run, RunContext
from medallion_spark.sql import quote
from medallion_spark.update import update_entities

EPOCH = datetime(2018, 1, 1, tzinfo=UTC)

Values = dict[str, Any]


def version(
    at: int,
    batch: int,
    op: str = "upsert",
    extracted: int | None = None,
    digest: str | None = None,
    **source: Any,
) -> Values:
    """Return a bronze row with the values of `source`, changed `at` seconds after EPOCH."""
    changed_at = EPOCH + timedelta(seconds=at)
    hashed = {name: value for name, value in source.items() if value is not None} | {
        CHANGED_AT: str(changed_at)
    }
    return source | {
        CHANGED_AT: changed_at,
        "_op": op,
        "_hash": digest or hashlib.md5(json.dumps(hashed, sort_keys=True).encode()).hexdigest(),
        "_extracted_at": EPOCH + timedelta(days=1, seconds=batch if extracted is None else extracted),
        "_batch": batch,
    }


def bronze_columns(entity: Entity) -> dict[str, str]:
    """Return the columns and types of an entity's bronze table, if all columns at the source are text."""
    return dict.fromkeys([*chain(*entity.reads.values()), "_unkept"], "string") | {
        CHANGED_AT: "timestamp",
        "_op": "string",
        "_hash": "string",
        "_extracted_at": "timestamp",
        "_batch": "bigint",
    }


def bronze_frame(spark: SparkSession, entity: Entity, rows: Sequence[Values]) -> DataFrame:
    """Return bronze rows as a data frame. Columns that a row lacks are null."""
    columns = bronze_columns(entity)
    schema = ", ".join(f"{quote(name)} {sql_type}" for name, sql_type in columns.items())
    return spark.createDataFrame([tuple(row.get(name) for name in columns) for row in rows], schema)


class Lake:
    """The tables of bronze and silver, which are empty at first."""

    def __init__(self, spark: SparkSession, entities: Mapping[str, Entity]) -> None:
        self.spark, self.entities = spark, entities
        for namespace in ("bronze", "silver"):
            spark.sql(f"create namespace if not exists lake.{namespace}")
            for table in spark.sql(f"show tables in lake.{namespace}").collect():
                spark.sql(f"drop table lake.{namespace}.{table.tableName} purge")

    def capture(self, entity: str, *rows: Values) -> None:
        """Append versions to a bronze table, and create the table if it is missing. Missing columns are null."""
        frame = bronze_frame(self.spark, self.entities[entity], rows).coalesce(1)
        schema = ", ".join(f"{quote(name)} {sql_type}" for name, sql_type in frame.dtypes)
        self.spark.sql(
            f"create table if not exists lake.bronze.{entity} ({schema}) using iceberg"
            f" partitioned by (months({CHANGED_AT}))"
        )
        frame.writeTo(f"lake.bronze.{entity}").append()

    def run_of(
        self, batch: int, published: int = 0, rebuild: str = "none", outdated: tuple[str, ...] = ()
    ) -> Run:
        """Return a run on this lake. `outdated`: entities that were built by other code, so the run rebuilds them."""
        context = RunContext(
            batch=batch,
            published_batch=published,
            rebuild=rebuild,
            outdated=[f"silver.stg_{entity}" for entity in outdated],
            lake_catalog="lake",
            target_file_bytes=128 * 1024 * 1024,
        )
        return Run(self.spark, context)

    def run(self, *entities: str, batch: int, **run: Any) -> None:
        """Run the job that builds silver staging. `run`: arguments for `run_of`."""
        update_entities(self.run_of(batch, **run), [self.entities[name] for name in entities])

    def rows(self, table: str, columns: str = "*", where: str = "true") -> list[tuple[Any, ...]]:
        """Return the rows of a silver table, sorted."""
        rows = self.spark.sql(f"select {columns} from lake.silver.{table} where {where}").collect()
        return sorted((tuple(row) for row in rows), key=repr)

    def snapshots(self) -> dict[str, int]:
        """Return the number of snapshots per silver table."""
        names = [row.tableName for row in self.spark.sql("show tables in lake.silver").collect()]
        return {name: self.spark.table(f"lake.silver.{name}.snapshots").count() for name in names}
