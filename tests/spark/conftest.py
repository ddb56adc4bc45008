"""A Spark session, and a lake that is empty at first."""

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from support.lake import Lake
from support.spark_session import spark_session

from .fixtures import ENTITIES


@pytest.fixture(scope="package")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    with spark_session(tmp_path_factory.mktemp("spark")) as session:
        yield session


@pytest.fixture
def lake(spark: SparkSession) -> Lake:
    return Lake(spark, ENTITIES)


@pytest.fixture(scope="module")
def module_lake(spark: SparkSession) -> Lake:
    return Lake(spark, ENTITIES)
