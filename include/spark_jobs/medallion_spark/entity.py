"""The declaration of an entity of silver, and the lookup of the entities that the project declares."""

import importlib
import pkgutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import entities
from medallion_spark.kinds import Kind
from medallion_spark.sql import quote

# Columns that the jobs add, in the table or while they work.
RESERVED = {
    "updated_at", "_raw_key", "_key", "_has_key", "_rules", "_flags", "_state", "_op", "_hash", "_row", "_batch",
    "_version_batch", "_extracted_at", "_first_extracted_at", "_is_new", "_is_delete", "_is_rejected", "_is_gone",
    "_is_superseded", "_is_change", "_decides", "_decider", "_silver_before", "_winner",
}  # fmt: skip
# Prefix of the columns that hold each column's text while it is parsed.
TEXT_PREFIX = "_text_"


@dataclass(frozen=True)
class Entity:
    """An entity of silver: its key, its columns, the conditions that reject a row and those that flag it.

    `name` is that of its bronze model. `key` is the natural key, always required. A row is rejected as
    `<column>_missing` or `<column>_unparsable` if a required column is null, and as `<column>_invalid` if the column
    meets its condition in `rejects`. An optional column that does not parse flags the row `unparsable_<column>`; each
    condition in `flags` flags it by its name. Conditions are Spark SQL over the parsed columns, true for a bad row;
    a null column meets none of them.

    `bucketed_by` is the key column that spreads the table over `buckets` partitions; leave it out for a table that
    stays small. Every hour writes a file to each bucket, and every reader opens all of them: few buckets are best.
    """

    name: str
    key: tuple[str, ...]
    columns: Mapping[str, Kind]
    also_required: tuple[str, ...] = ()
    rejects: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    bucketed_by: str | None = None
    buckets: int = 4

    def __post_init__(self) -> None:
        """Raise ValueError if the declaration contradicts itself."""
        if not self.key:
            raise ValueError(f"{self.name} has no key: name the columns that identify a row")
        if unknown := {*self.key, *self.also_required, *self.rejects} - self.columns.keys():
            raise ValueError(
                f"{self.name} names columns that it does not declare: {', '.join(sorted(unknown))}"
            )
        if clashing := [name for name in self.columns if name in RESERVED or name.startswith(TEXT_PREFIX)]:
            raise ValueError(
                f"{self.name} has columns with reserved names: {', '.join(clashing)}. Rename them at the source"
            )
        for name in (self.name, *self.columns):
            if name != name.lower():
                raise ValueError(f"{self.name}: write {name} in lower case, as bronze does")
        if self.bucketed_by is not None and self.bucketed_by not in self.key:
            raise ValueError(f"{self.name} is bucketed by {self.bucketed_by}: choose a column of its key")
        # The buckets that a run touches are gathered as bits of an integer.
        if not 1 <= self.buckets <= 31:
            raise ValueError(f"{self.name} has {self.buckets} buckets: choose 1 to 31")

    @property
    def required(self) -> tuple[str, ...]:
        """The columns without which a row is rejected: the key and `also_required`."""
        return (*self.key, *self.also_required)

    @property
    def partitioned_by(self) -> str | None:
        """The Iceberg partition transform of the table, if it has one."""
        return f"bucket({self.buckets}, {quote(self.bucketed_by)})" if self.bucketed_by else None

    @property
    def staging_name(self) -> str:
        """The name of the entity's table, and of its dbt model."""
        return f"stg_{self.name}"


def declared_entities() -> dict[str, Entity]:
    """Return the entities that the modules of the package `entities` declare, by name."""
    declared = [
        entity
        for module in pkgutil.iter_modules(entities.__path__, "entities.")
        for entity in importlib.import_module(module.name).ENTITIES
    ]
    if repeated := [name for name, count in Counter(entity.name for entity in declared).items() if count > 1]:
        raise ValueError(f"Declare each entity once in include/spark_jobs/entities: {', '.join(repeated)}")
    return {entity.name: entity for entity in declared}
