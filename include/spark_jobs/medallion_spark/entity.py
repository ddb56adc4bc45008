"""A table of silver staging as the project declares it: in dbt's YAML and in the select of its model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_origin

from medallion_spark.sql import quote

# Column with the time of a version, in bronze, silver staging and quarantine.
CHANGED_AT = "_changed_at"
# Prefix of the columns that hold each value before it is converted.
GIVEN_PREFIX = "_given_"


@dataclass(frozen=True)
class Entity:
    """A table of silver staging, as its model declares it.

    name: the bronze model. natural_key: the columns of bronze that identify a row. key: the table's primary key.
    columns: name -> data type (see `conversion`). projection: the text of the select between `select` and `from`.
    alias: the bronze table's name in that text. reads: column -> the columns of bronze that it is computed from.
    required: columns that may not be null, besides the key. checks: rule -> condition that an accepted row meets.
    flags: name -> condition that marks a doubtful row. bucketed_by: the column of the key that spreads the table over
    `buckets` partitions. staging_name: the name of the table and of its dbt model.

    A version is rejected as `<column>_missing` or `<column>_unparsable` if a column of the key, or a required one, is
    null. It is also rejected by the name of each check that is false; a check that is null counts as met. If another
    column can't be converted, the row gets the flag `unparsable_<column>`. A column that is computed from a value that
    bronze could not keep counts as one that can't be converted. Conditions are Spark SQL over the converted columns.

    Choose few buckets: every hour writes a file to each bucket, and every reader opens all files.
    """

    name: str
    natural_key: list[str]
    key: list[str]
    columns: Mapping[str, str]
    descriptions: Mapping[str, str]
    projection: str
    alias: str
    reads: Mapping[str, list[str]]
    required: list[str]
    checks: Mapping[str, str]
    flags: Mapping[str, str]
    bucketed_by: str | None
    buckets: int
    staging_name: str

    @classmethod
    def from_json(cls, text: str) -> "Entity":
        """Parse a declaration, as Airflow passes it; raise ValueError if a field is missing or of the wrong type."""
        try:
            values: Any = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"The declaration of an entity is no JSON ({error}): {text[:200]!r}") from error
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or values.keys() != names:
            raise ValueError(
                f"The declaration of an entity must be a JSON object with {', '.join(sorted(names))}, and is"
                f" {text[:200]!r}"
            )
        for field in fields(cls):
            origin: Any = get_origin(field.type)
            expected = dict if origin is Mapping else origin or field.type
            value = values[field.name]
            if field.name == "bucketed_by" and value is None:
                continue
            if type(value) is not (str if field.name == "bucketed_by" else expected):
                raise ValueError(f"{field.name} of an entity has the wrong type: {value!r}")
        return cls(**values)

    @property
    def never_null(self) -> list[str]:
        """The columns without which a row is rejected: the key and `required`."""
        return [*self.key, *self.required]

    @property
    def partitioned_by(self) -> str | None:
        """The Iceberg partition transform of the table, if it has one."""
        return f"bucket({self.buckets}, {quote(self.bucketed_by)})" if self.bucketed_by else None

    @property
    def identity(self) -> str:
        """The keys and the partitions as one text: if it changes, the table is replaced."""
        return json.dumps([self.natural_key, self.key, self.bucketed_by, self.bucketed_by and self.buckets])
