"""Names that several modules share: layers, groups, task ids, roles, schemas, prefixes.

Other modules import these names and never spell them out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, count

DAG_TAG = "medallion"  # a tag of every DAG of this package
HOURLY_DAG, RECONCILE_DAG = "medallion_hourly", "medallion_reconcile"
MAINTENANCE_DAG, ROLLBACK_DAG = "medallion_maintenance", "medallion_rollback"
SCHEDULED_DAGS = (HOURLY_DAG, RECONCILE_DAG, MAINTENANCE_DAG)
DAGS = (*SCHEDULED_DAGS, ROLLBACK_DAG)

# Schemas of the lake, in the order in which data passes through them.
BRONZE, SILVER, GOLD = "bronze", "silver", "gold"
LAYERS = (BRONZE, SILVER, GOLD)

# Schemas of the gold database: the tables for BI, their staged rows, and the state of the pipeline.
GOLD_SCHEMA, STAGING_SCHEMA, STATE_SCHEMA = "gold", "staging", "audit"

CHANGED_AT = "_changed_at"  # column of every bronze table: when the source changed the row, UTC
STAGING_PREFIX = "stg_"  # silver tables that Spark builds: stg_<bronze table>
ENTITY_ACCOUNTS = f"{SILVER}.entity_accounts"  # the Spark job writes it if it read a version
QUARANTINE = f"{SILVER}.quarantine"  # the Spark job writes it if a version broke a rule

NO_REBUILD = "none"  # value of the parameter `rebuild`; the others are layers


class Group(StrEnum):
    """The steps of the hourly DAG, in order. Each is a task group or a single task."""

    BRONZE = "bronze"
    SILVER_STAGING = "silver_staging"
    SILVER_MARTS = "silver_marts"
    GOLD = "gold"
    AUDIT = "audit"
    STAGE = "stage"
    PUBLISH = "publish"


# Groups with a task per dbt model, and the engine that builds their models.
ENGINES = {Group.BRONZE: "trino", Group.SILVER_MARTS: "spark", Group.GOLD: "trino"}
# Groups that run, by the value of the parameter `up_to`.
GROUPS_UP_TO = {
    BRONZE: (Group.BRONZE,),
    SILVER: (Group.BRONZE, Group.SILVER_STAGING, Group.SILVER_MARTS),
    GOLD: (Group.BRONZE, Group.SILVER_STAGING, Group.SILVER_MARTS, Group.GOLD),
    "publish": tuple(Group),
}
# dbt's selectors of the models of a group.
MODELS = {
    Group.BRONZE: "path:models/bronze",
    Group.SILVER_MARTS: "path:models/silver/marts",
    Group.GOLD: "path:models/gold",
}
# dbt's selector of the tests that run on every table of bronze and silver staging.
TESTS_OF_EVERY_TABLE = "path:tests/medallion"

BEGIN, END, FRESHNESS = "begin", "end", "freshness"
MEASURE, COMPACT, EXPIRE, PRUNE = "measure", "compact", "expire", "prune"
CHOOSE, RESTORE = "choose", "restore"
SPARK_TASK, TEST_TASK = "spark", "test"  # tasks of silver that are not named after a model
BUILD_ENTITIES = f"{Group.SILVER_STAGING}.{SPARK_TASK}"
TEST_ENTITIES = f"{Group.SILVER_STAGING}.{TEST_TASK}"
TEST_MARTS = f"{Group.SILVER_MARTS}.{TEST_TASK}"
TESTS_GROUP = "tests"  # tests of whole tables, in the daily reconciliation


class Role(StrEnum):
    """The effect of a task on the data."""

    BUILD = "build"  # it writes tables of the lake, and tests them
    TEST = "test"
    PUBLISH = "publish"  # it audits, stages or publishes
    MAINTAIN = "maintain"
    WATCH = "watch"  # it writes no table of the lake or of gold


@dataclass(frozen=True)
class Place:
    """The place of a task in the pipeline.

    layer: the group that the task belongs to, if that group builds a layer; else None.
    """

    layer: Group | None
    role: Role


def group_of(task_id: str) -> str:
    """Return the task group of a task id, or the id itself if the task is in no group."""
    return task_id.partition(".")[0]


def place_of(task_id: str) -> Place:
    """Return the place of a task of any of the DAGs."""
    group = group_of(task_id)
    if task_id in (BEGIN, END, FRESHNESS):
        return Place(None, Role.WATCH)
    if task_id in (MEASURE, COMPACT, EXPIRE, PRUNE):
        return Place(None, Role.MAINTAIN)
    if group in (Group.AUDIT, Group.STAGE, Group.PUBLISH, CHOOSE, RESTORE):
        return Place(None, Role.PUBLISH)
    layer = Group(group) if group in (*ENGINES, Group.SILVER_STAGING) else None
    is_test = task_id in (TEST_ENTITIES, TEST_MARTS) or layer is None
    return Place(layer, Role.TEST if is_test else Role.BUILD)


def task_id(group: str, name: str) -> str:
    """Return the id of the task `name` in a group."""
    return f"{group}.{name}"


def model_of(task_id: str) -> str:
    """Return the model, table or job that a task is named after."""
    return task_id.rpartition(".")[2]


def staging_table(bronze_table: str) -> str:
    """Return the name of the silver table that Spark builds from a bronze table, without its schema."""
    return f"{STAGING_PREFIX}{bronze_table}"


def bronze_names(columns: Iterable[tuple[str, bool]]) -> list[str]:
    """Return the names in bronze of a table's columns, like the macro `bronze_name`.

    `columns`: pairs of a column's name at the source, and whether bronze reserves that name. A name in bronze is in
    lower case. It gets a number at its end if an earlier column has the same name, or if it is reserved.
    """
    names: list[str] = []
    for column, is_reserved in columns:
        numbered = (f"{column.lower()}_{number}" for number in count(2))
        candidates = numbered if is_reserved else chain([column.lower()], numbered)
        names.append(next(name for name in candidates if name not in names))
    return names


def lake_table(schema: str, name: str) -> str:
    """Return a table's name within the lake, as snapshots and assets use it: `schema.name`."""
    return f"{schema}.{name}"


def is_gold(table: str) -> bool:
    """Return whether a table of the lake, `schema.name`, is published."""
    return table.startswith(f"{GOLD}.")
