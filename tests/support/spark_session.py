"""A Spark session for tests. It has the stack's configuration, but its Iceberg catalog `lake` needs no server."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from medallion_spark.update import INTERPRETED, SETTINGS
from stack.environment import environment
from stack.settings import Settings


@contextmanager
def spark_session(folder: Path) -> Iterator[SparkSession]:
    """Start Spark, which writes all its files into `folder`, and yield the session."""
    (folder / "home" / "airflow").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(Settings(home=folder / "home")).items():
            if name in ("JAVA_HOME", "SPARK_SUBMIT_OPTS") or name.startswith(("SPARK_", "PYSPARK_")):
                patch.setenv(name, value)
        builder = (
            SparkSession.builder.master("local[2]")
            .config(map=SETTINGS | INTERPRETED)
            .config("spark.sql.shuffle.partitions", "1")
            .config("spark.sql.catalog.lake.type", "hadoop")
            .config("spark.sql.catalog.lake.warehouse", str(folder / "warehouse"))
        )
        # At lower levels py4j logs the end of Spark, at a time when pytest has already closed the log.
        logging.getLogger("py4j").setLevel(logging.WARNING)
        with builder.getOrCreate() as session:
            session.sparkContext.setLogLevel("ERROR")
            yield session
