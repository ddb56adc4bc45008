"""The context of a run, which Airflow passes to every engine as the same JSON."""

import argparse
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, get_origin

from pyspark.sql import SparkSession

from medallion_spark.entity import Entity


@dataclass(frozen=True)
class RunContext:
    """The fields of a run's context that the Spark jobs use.

    batch: number of the run, in the column `_batch` of every row that it writes.
    published_batch: rows above it are not published yet.
    rebuild: with `silver` every table is rebuilt from all of bronze; `none` and `gold` change nothing here.
    outdated: tables that other code has made. They are rebuilt from all of bronze, too.
    lake_catalog: the Iceberg catalog.
    target_file_bytes: size that data files should have.
    """

    batch: int
    published_batch: int
    rebuild: str
    outdated: list[str]
    lake_catalog: str
    target_file_bytes: int

    @classmethod
    def from_json(cls, text: str) -> "RunContext":
        """Parse a run's context; raise ValueError if a field is missing or of the wrong type.

        Fields that only other engines use are ignored.
        """
        try:
            values: Any = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"The run's context is no JSON ({error}): {text!r}") from error
        if not isinstance(values, dict):
            raise ValueError(f"The run's context must be a JSON object, and is {text!r}")
        names = [field.name for field in fields(cls)]
        if missing := [name for name in names if name not in values]:
            raise ValueError(
                f"The run's context lacks {', '.join(missing)}: pass the JSON that dbt gets as MEDALLION_RUN"
            )
        for name, annotation in cls.__annotations__.items():
            expected: Any = get_origin(annotation) or annotation
            if type(values[name]) is not expected:
                raise ValueError(
                    f"{name} of the run's context must be of type {expected.__name__}, and is {values[name]!r}"
                )
        return cls(**{name: values[name] for name in names})


def run_argument(text: str) -> RunContext:
    """Parse the value of `--run`. Raises ArgumentTypeError, because argparse shows the message of no other error."""
    try:
        return RunContext.from_json(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


# By default Spark replaces `${env:…}` in a name or a text by a variable of the server, which may be a secret.
NO_SUBSTITUTION = {"spark.sql.variable.substitute": False}


@contextmanager
def spark_session(name: str, settings: Mapping[str, Any]) -> Iterator[SparkSession]:
    """Open a job's session, in a Spark of its own or on the server of SPARK_REMOTE, and stop it at the end.

    A session of Spark Connect is no context manager itself.
    """
    session = SparkSession.builder.appName(name).config(map={**NO_SUBSTITUTION, **settings}).getOrCreate()
    try:
        yield session
    finally:
        session.stop()


@dataclass(frozen=True)
class Run:
    """One submit: its Spark session and its run's context."""

    spark: SparkSession
    context: RunContext

    def rebuilds(self, entity: Entity) -> bool:
        """Return whether the entity is built from all of bronze, not only from versions since the last publication."""
        return self.context.rebuild == "silver" or f"silver.{entity.staging_name}" in self.context.outdated

    @property
    def quarantine(self) -> str:
        """The table of rejected versions."""
        return f"{self.context.lake_catalog}.silver.quarantine"

    @property
    def accounts(self) -> str:
        """The table with the number of versions that each run read."""
        return f"{self.context.lake_catalog}.silver.entity_accounts"

    def bronze_table(self, entity: Entity) -> str:
        """Return the changelog that an entity is built from."""
        return f"{self.context.lake_catalog}.bronze.{entity.name}"

    def staging_table(self, entity: Entity) -> str:
        """Return the table of silver staging that holds an entity."""
        return f"{self.context.lake_catalog}.silver.{entity.staging_name}"
