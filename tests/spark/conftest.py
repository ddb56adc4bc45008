"""A Spark session with an Iceberg catalog `lake` in a temporary folder, and ways to fill bronze and read silver."""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

import silver
from entities import ENTITIES
from spark_settings import INTERPRETED
from stack.environment import environment
from stack.settings import Settings

EPOCH = datetime(2018, 1, 1, tzinfo=UTC)

Values = dict[str, Any]


@pytest.fixture(scope="package")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The stack's Spark with its configuration, but for a catalog that needs no server."""
    home = tmp_path_factory.mktemp("home")
    (home / "airflow").mkdir()
    found = environment(Settings(home=home))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.items():
            if name in ("JAVA_HOME", "SPARK_SUBMIT_OPTS") or name.startswith(("SPARK_", "PYSPARK_")):
                patch.setenv(name, value)
        builder = (
            SparkSession.builder.master("local[2]")
            .config(map=silver.SETTINGS | INTERPRETED)
            .config("spark.sql.shuffle.partitions", "1")
            .config("spark.sql.catalog.lake.type", "hadoop")
            .config("spark.sql.catalog.lake.warehouse", str(tmp_path_factory.mktemp("warehouse")))
        )
        # Else it tells of its end to a log that is closed by then.
        logging.getLogger("py4j").setLevel(logging.WARNING)
        with builder.getOrCreate() as session:
            session.sparkContext.setLogLevel("ERROR")
            yield session


def version(
    at: int,
    batch: int,
    op: str = "upsert",
    extracted: int | None = None,
    digest: str | None = None,
    **source: Any,
) -> Values:
    """Return a bronze row: `source` columns, updated `at` seconds after the epoch of these tests."""
    updated_at = EPOCH + timedelta(seconds=at)
    told = {name: value for name, value in source.items() if value is not None} | {
        "updated_at": str(updated_at)
    }
    return source | {
        "updated_at": updated_at,
        "_op": op,
        "_hash": digest or hashlib.md5(json.dumps(told, sort_keys=True).encode()).hexdigest(),
        "_extracted_at": EPOCH + timedelta(days=1, seconds=batch if extracted is None else extracted),
        "_batch": batch,
    }


def bronze_schema(entity: str) -> str:
    """Return the columns of a bronze table as the bronze models make them."""
    source = [
        f"{name} {'bigint' if name == 'geolocation_id' else 'string'}" for name in ENTITIES[entity].columns
    ]
    bookkeeping = "updated_at timestamp, _op string, _hash string, _extracted_at timestamp, _batch bigint"
    return ", ".join([*source, bookkeeping])


def bronze_frame(spark: SparkSession, entity: str, rows: Sequence[Values]) -> DataFrame:
    """Return bronze rows as a frame; columns not given are null."""
    schema = bronze_schema(entity)
    names = [column.split()[0] for column in schema.split(", ")]
    return spark.createDataFrame([tuple(row.get(name) for name in names) for row in rows], schema)


class Lake:
    """Bronze to write to and silver to read from, empty at first."""

    def __init__(self, spark: SparkSession) -> None:
        self.spark = spark
        for namespace in ("bronze", "silver"):
            spark.sql(f"create namespace if not exists lake.{namespace}")
            for table in spark.sql(f"show tables in lake.{namespace}").collect():
                spark.sql(f"drop table lake.{namespace}.{table.tableName} purge")

    def capture(self, entity: str, *rows: Values) -> None:
        """Append versions to a bronze table, created if it is missing; columns not given are null."""
        table = ENTITIES[entity].bronze_table
        self.spark.sql(
            f"create table if not exists {table} ({bronze_schema(entity)}) using iceberg"
            " partitioned by (months(updated_at))"
        )
        bronze_frame(self.spark, entity, rows).coalesce(1).writeTo(table).append()

    def run(self, *entities: str, batch: int, published: int = 0, rebuild: bool = False) -> None:
        """Run the job as its command line does."""
        run = silver.Run(self.spark, batch, published, rebuild)
        silver.bring_up_to_date(run, [ENTITIES[name] for name in entities])

    def rows(self, table: str, columns: str = "*", where: str = "true") -> list[tuple[Any, ...]]:
        """Return the rows of a silver table, sorted."""
        found = self.spark.sql(f"select {columns} from lake.silver.{table} where {where}").collect()
        return sorted((tuple(row) for row in found), key=repr)

    def snapshots(self) -> dict[str, int]:
        """Return the number of snapshots per silver table."""
        names = [row.tableName for row in self.spark.sql("show tables in lake.silver").collect()]
        return {name: self.spark.table(f"lake.silver.{name}.snapshots").count() for name in names}


@pytest.fixture
def lake(spark: SparkSession) -> Lake:
    return Lake(spark)


@pytest.fixture(scope="module")
def module_lake(spark: SparkSession) -> Lake:
    return Lake(spark)
