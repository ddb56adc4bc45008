"""Settings of the native stack. Each has a working default; `STACK_<NAME>`, also in a `.env` file, overrides it."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from stack import bootstrap

ROOT = bootstrap.ROOT
STACK = ROOT / "stack"
CHANGEABLE = {"shop", "start_timeout"}  # while the stack runs

Port = Annotated[int, Field(ge=1, le=65535)]
Memory = Annotated[str, Field(pattern=r"^\d+[mMgG]$")]
AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]


class Settings(BaseSettings):
    """Ports (loopback only), memory (in Java's notation) and folders, read from the environment and `.env`."""

    model_config = SettingsConfigDict(
        env_prefix="STACK_",
        env_file=ROOT / ".env",
        env_ignore_empty=True,  # make passes an unset variable as an empty one
        extra="ignore",
    )

    postgres_port: Port = 15432
    trino_port: Port = 18081
    thrift_port: Port = 11000
    airflow_port: Port = 18080

    trino_memory: Memory = "2G"
    thrift_memory: Memory = "1G"
    spark_memory: Memory = "2G"
    spark_cores: int = Field(default=2, ge=1)
    airflow_parallelism: int = Field(
        default=4, ge=2, description="tasks that run at the same time; a task of gold counts as two"
    )

    shop: Literal["on", "off"] = "on"
    start_timeout: int = Field(default=300, ge=1, description="seconds a service may take to become healthy")

    home: AbsolutePath = bootstrap.HOME
    cache: AbsolutePath = bootstrap.CACHE
    ivy_settings: AbsolutePath = Field(
        default=STACK / "ivysettings.xml", description="Ivy settings file, which may name a Maven mirror"
    )

    @property
    def ports(self) -> dict[str, int]:
        """Return each port that the stack listens on, by the name of its setting."""
        return {name: value for name, value in self if name.endswith("_port")}
