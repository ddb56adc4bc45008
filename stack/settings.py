"""Settings of the native stack. Each has a working default; `STACK_<NAME>`, also in a `.env` file, overrides it."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PlainSerializer, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from stack import bootstrap
from stack.errors import StackError
from stack.source_url import mask, parse_source_url

ROOT = bootstrap.ROOT
STACK = ROOT / "stack"
CHANGEABLE = {"shop", "start_timeout"}  # these may change while the stack runs

Port = Annotated[int, Field(ge=1, le=65535)]
Memory = Annotated[str, Field(pattern=r"^\d+[mMgG]$")]
AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]


def check_url(url: SecretStr) -> SecretStr:
    """Return the URL itself. Raises ValueError if it names no database."""
    parse_source_url(url.get_secret_value())
    return url


# Dumps and messages show this URL without its password.
SourceUrl = Annotated[
    SecretStr,
    AfterValidator(check_url),
    PlainSerializer(lambda url: mask(url.get_secret_value()), return_type=str, when_used="unless-none"),
]


class Settings(BaseSettings):
    """Ports (loopback only), memory (in Java's notation) and folders, read from the environment and `.env`."""

    model_config = SettingsConfigDict(
        env_prefix="STACK_",
        env_file=ROOT / ".env",
        env_ignore_empty=True,  # make passes an unset variable as an empty one
        extra="ignore",
        hide_input_in_errors=True,  # a value may hold a password
    )

    source_url: SourceUrl | None = Field(
        default=None,
        description="Database to read instead of the stack's own: postgresql://user:password@host:port/database.",
    )

    postgres_port: Port = Field(default=15432, description="Port of PostgreSQL, on loopback.")
    trino_port: Port = Field(default=18081, description="Port of Trino, on loopback.")
    thrift_port: Port = Field(
        default=11000, description="Port of Spark's Thrift server, for dbt, on loopback."
    )
    connect_port: Port = Field(default=15002, description="Port of Spark Connect, for jobs, on loopback.")
    airflow_port: Port = Field(default=18080, description="Port of Airflow, on loopback.")

    trino_memory: Memory = Field(default="2G", description="Heap of Trino.")
    spark_memory: Memory = Field(default="3G", description="Heap of Spark.")
    spark_cores: int = Field(default=2, ge=1, description="Cores of Spark.")
    airflow_parallelism: int = Field(
        default=4, ge=2, description="Tasks that run at the same time; a task of gold counts as two."
    )

    shop: Literal["on", "off"] = Field(
        default="on", description="Whether the sample shop keeps trading; it never does in another database."
    )
    start_timeout: int = Field(
        default=300, ge=1, description="Seconds that a service may take to become healthy."
    )

    home: AbsolutePath = Field(
        default=bootstrap.HOME,
        description="Folder of data, logs and the Python environment; set it in the environment, not in .env.",
    )
    cache: AbsolutePath = Field(
        default=bootstrap.CACHE, description="Folder of downloads; set it in the environment, not in .env."
    )
    ivy_settings: AbsolutePath = Field(
        default=STACK / "ivysettings.xml", description="Ivy settings file, which may name a Maven mirror."
    )

    @property
    def ports(self) -> dict[str, int]:
        """Return each port that the stack listens on, by the name of its setting."""
        return {name: value for name, value in self if name.endswith("_port")}


def read_settings() -> Settings:
    """Return the settings. Raises StackError that names each variable with a wrong value, without the value."""
    try:
        return Settings()
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise StackError(
            "\n".join(
                f"STACK_{str(fault['loc'][0]).upper()}: {fault['msg'].removeprefix('Value error, ')}"
                for fault in faults
            )
        ) from None
