"""What a team may set: environment variables `MEDALLION_<NAME>`, all with working defaults."""

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
    """The moment in UTC; a naive one is taken as UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def as_cron(schedule: str) -> str:
    """The schedule itself. Raises ValueError where it is no cron expression."""
    if not croniter.is_valid(schedule):
        raise ValueError(f"{schedule!r} is no cron expression; every hour is '0 * * * *'")
    return schedule


Cron = Annotated[str, AfterValidator(as_cron)]
NOTHING = timedelta()


class Settings(BaseSettings):
    """Read from the environment."""

    model_config = SettingsConfigDict(env_prefix="MEDALLION_")

    schedule: Cron = Field("0 * * * *", description="Cron expression of medallion_hourly, UTC.")
    reconcile_schedule: Cron = Field("30 3 * * *", description="Cron expression of medallion_reconcile, UTC.")
    maintenance_schedule: Cron = Field(
        "30 4 * * *", description="Cron expression of medallion_maintenance, UTC."
    )
    snapshot_retention: timedelta = Field(
        timedelta(hours=168),
        gt=NOTHING,
        description="How long the tables' snapshots are kept; those of the last publication are kept anyway.",
    )
    history_start: Annotated[datetime, AfterValidator(as_utc)] | None = Field(
        None, description="Where the first window begins; default: the smallest updated_at at the source."
    )
    lookback: timedelta = Field(
        timedelta(minutes=15),
        ge=NOTHING,
        description="How far extraction reaches back for transactions that commit late.",
    )
    chunk_rows: int = Field(
        200_000, ge=1, description="A long window is extracted in chunks of about so many rows."
    )
    lease_poll: timedelta = Field(
        timedelta(seconds=15),
        gt=NOTHING,
        description="How often a waiting run looks whether the lease is free.",
    )
    task_timeout: timedelta = Field(
        timedelta(hours=1),
        gt=NOTHING,
        description="A task, or a Trino statement of dbt, that takes longer is ended and tried again.",
    )
    max_rejected_share: float = Field(
        0.05, ge=0, le=1, description="Above this share of rejected rows a run stops before it publishes."
    )
    max_rejected_from: int = Field(
        100, ge=1, description="The fewest rows of an entity whose share is looked at."
    )
    max_deleted_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Above this share of rows gone at the source a reconciliation leaves a table as it is.",
    )
    max_deleted_from: int = Field(
        10, ge=1, description="The share is looked at from so many rows gone of a table upwards."
    )
    max_gold_age: timedelta = Field(
        timedelta(hours=3),
        gt=NOTHING,
        description="Gold that ends longer ago than this raises an alert: more than the schedule's interval and a run.",
    )
    notifier: ImportString[Callable[..., Any]] | None = Field(
        None, description="Import path of an Airflow notifier, called when a task or a deadline fails."
    )
    notifier_arguments: dict[str, str] = Field(
        default_factory=dict, description="Its arguments, a JSON object; values may be Jinja templates."
    )


@cache
def settings() -> Settings:
    """The settings of this process.

    Raises ValueError naming the variable where a value does not parse.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = [f"MEDALLION_{str(each['loc'][0]).upper()}: {each['msg']}" for each in error.errors()]
        raise ValueError("; ".join(problems)) from None
    except SettingsError:
        # Only a value in JSON is parsed before it is validated, and there is one; the cause may hold a secret.
        raise ValueError("MEDALLION_NOTIFIER_ARGUMENTS is not a JSON object") from None
