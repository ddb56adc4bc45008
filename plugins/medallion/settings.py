"""The settings of the package: environment variables `MEDALLION_<NAME>`, all with working defaults."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from croniter import croniter
from pydantic import AfterValidator, Field, ImportString, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

PROJECT = Path(__file__).resolve().parents[2]
DBT_PROJECT = PROJECT / "include" / "dbt"
SQL = PROJECT / "include" / "sql"
SPARK_JOBS = PROJECT / "include" / "spark_jobs"

TRINO_CONNECTION = "medallion_trino"
THRIFT_CONNECTION = "medallion_thrift"
SPARK_CONNECTION = "medallion_spark"
SOURCE_CONNECTION = "medallion_source"
GOLD_CONNECTION = "medallion_gold"
CONNECTIONS = (TRINO_CONNECTION, THRIFT_CONNECTION, SPARK_CONNECTION, SOURCE_CONNECTION, GOLD_CONNECTION)


def as_utc(moment: datetime) -> datetime:
    """Return the moment in UTC; a moment without time zone counts as UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def as_cron(schedule: str) -> str:
    """Return the schedule unchanged. Raises ValueError if it is no cron expression."""
    if not croniter.is_valid(schedule):
        raise ValueError(f"{schedule!r} is no cron expression; every hour is '0 * * * *'")
    return schedule


Cron = Annotated[str, AfterValidator(as_cron)]
Identifier = Annotated[str, Field(pattern="^[a-z_][a-z0-9_]*$")]
NOTHING = timedelta()


class Settings(BaseSettings):
    """Settings read from the environment."""

    model_config = SettingsConfigDict(env_prefix="MEDALLION_")

    schedule: Cron = Field("0 * * * *", description="Cron expression of medallion_hourly, UTC.")
    reconcile_schedule: Cron = Field("30 3 * * *", description="Cron expression of medallion_reconcile, UTC.")
    maintenance_schedule: Cron = Field(
        "30 4 * * *", description="Cron expression of medallion_maintenance, UTC."
    )
    source_catalog: Identifier = Field("postgres", description="Trino's catalog of the source.")
    lake_catalog: Identifier = Field(
        "lake", description="The Iceberg catalog, under one name in Trino, Spark and pyiceberg."
    )
    gold_catalog: Identifier = Field("postgres_gold", description="Trino's catalog of the gold database.")
    snapshot_retention: timedelta = Field(
        timedelta(hours=168),
        gt=NOTHING,
        description="How long the snapshots of tables are kept; the last publication's are always kept.",
    )
    audit_retention: timedelta = Field(
        timedelta(days=90),
        gt=NOTHING,
        description="How long records of runs are kept. Publications are kept at least as long as snapshots.",
    )
    log_retention: timedelta = Field(
        timedelta(days=30),
        gt=NOTHING,
        description="How long Airflow's task logs and, on the embedded stack, its metadata are kept.",
    )
    history_start: Annotated[datetime, AfterValidator(as_utc)] | None = Field(
        None, description="Start of the first window. Default: the oldest change at the source."
    )
    lookback: timedelta = Field(
        timedelta(minutes=15),
        ge=NOTHING,
        description="How far extraction reaches back, for transactions that commit late.",
    )
    chunk_rows: int = Field(
        200_000, ge=1, description="Approximate number of rows in each chunk of a long window."
    )
    lease_poll: timedelta = Field(
        timedelta(seconds=15),
        gt=NOTHING,
        description="How often a waiting run checks whether the lease is free.",
    )
    task_timeout: timedelta = Field(
        timedelta(hours=1),
        gt=NOTHING,
        description="A task, or a Trino statement of dbt, that takes longer is stopped and retried.",
    )
    max_rejected_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="A run stops before publishing if a larger share of rows was rejected, or lost a value.",
    )
    max_rejected_from: int = Field(
        100,
        ge=1,
        description="Minimum number of rows for the rejected share. If a run has fewer, earlier runs are added.",
    )
    max_deleted_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="A reconciliation leaves a table unchanged if a larger share of its rows is gone.",
    )
    max_deleted_from: int = Field(
        10, ge=1, description="Minimum number of missing rows before the deleted share is checked."
    )
    rebuild_rows: int = Field(
        5_000_000,
        ge=0,
        description="After a change of code a run rebuilds tables if that reads at most this many rows of bronze.",
    )
    max_gold_age: timedelta = Field(
        timedelta(hours=3),
        gt=NOTHING,
        description="Age of gold that raises an alert. Set it above the schedule's interval plus the time of a run.",
    )
    max_reconciliation_age: timedelta = Field(
        timedelta(days=2),
        gt=NOTHING,
        description="A table that no reconciliation has compared for longer than this raises an alert.",
    )
    notifier: ImportString[Callable[..., Any]] | None = Field(
        None,
        description="Import path of an Airflow notifier, called for failed tasks, late gold and findings.",
    )
    notifier_arguments: dict[str, str] = Field(
        default_factory=dict,
        description="Arguments of the notifier, a JSON object. Values may be Jinja templates.",
    )


@cache
def settings() -> Settings:
    """Return the settings of this process.

    Raises ValueError naming the variable if a value does not parse.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = [f"MEDALLION_{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors()]
        raise ValueError("; ".join(problems)) from None
    except SettingsError:
        # Pydantic raises this error for invalid JSON, and only this setting is JSON. The value may hold a secret, so
        # the error's text and cause are hidden.
        raise ValueError("MEDALLION_NOTIFIER_ARGUMENTS is not a JSON object") from None
