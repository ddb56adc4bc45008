"""The environment variables of the stack's processes, and the configuration files that read them."""

import re
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from stack.__main__ import cli
from stack.environment import connections, environment, source_environment
from stack.settings import STACK, Settings
from stack.supervisor import SERVICES, options_of_env

NAMES = {
    "AIRFLOW_URL",
    "AIRFLOW_USER",
    "AIRFLOW_PASSWORD",
    "TRINO_URL",
    "TRINO_USER",
    "TRINO_PASSWORD",
    "SOURCE_URL",
    "GOLD_URL",
}
TRINO = STACK / "trino" / "etc"
READS = [
    *((path, r"\$\{ENV:(\w+)\}") for path in TRINO.rglob("*.properties")),
    (STACK / "supervisord.conf", r"%\(ENV_(\w+)\)s"),
    (STACK / "airflow" / "airflow.cfg", r"^[^#]*\$(\w+)"),
]


@pytest.mark.usefixtures("fetched")
@pytest.mark.parametrize(("path", "pattern"), READS, ids=lambda value: getattr(value, "name", ""))
def test_every_variable_that_a_configuration_file_reads_is_given(
    path: Path, pattern: str, settings: Settings
) -> None:
    read = set(re.findall(pattern, path.read_text(), re.MULTILINE))
    env = environment(settings)
    assert read <= env.keys() | options_of_env(env).keys()


def test_the_supervisor_knows_every_service_in_the_order_of_their_start() -> None:
    parser = RawConfigParser()
    parser.read(STACK / "supervisord.conf")
    programs = {
        name.partition(":")[2]: int(parser[name]["priority"])
        for name in parser.sections()
        if name.startswith(("program:", "eventlistener:"))
    }
    assert set(programs) == set(SERVICES)
    assert sorted(SERVICES, key=lambda name: programs[name]) == list(SERVICES)


def test_connections_and_catalogs_reach_the_same_databases(settings: Settings) -> None:
    secrets = dict.fromkeys(("SOURCE_READER_PASSWORD", "PUBLISHER_PASSWORD"), "x")
    native = connections(settings, secrets)
    variables = source_environment(settings, secrets)
    for catalog, connection in {"postgres": "medallion_source", "postgres_gold": "medallion_gold"}.items():
        text = (TRINO / "catalog" / f"{catalog}.properties").read_text()
        for name, value in variables.items():
            text = text.replace(f"${{ENV:{name}}}", value)
        assert re.findall(r"connection-user=(.*)", text) == [native[connection]["login"]]
        assert re.findall(r"connection-url=.*/(\w+)$", text, re.MULTILINE) == [native[connection]["schema"]]


def test_spark_and_trino_name_the_catalog_alike() -> None:
    trino = (TRINO / "catalog" / "lake.properties").read_text()
    spark = (STACK / "spark" / "spark-defaults.conf").read_text()
    assert "catalog-name=lake\n" in trino
    assert "schema-version=V1\n" in trino
    assert re.search(r"^spark\.sql\.catalog\.lake\s", spark, re.MULTILINE)
    assert re.search(r"^spark\.sql\.catalog\.lake\.jdbc\.schema-version\s+V1$", spark, re.MULTILINE)
    assert re.findall(r"retryable.status.codes\W+(.*)", trino + spark) == ["57P01", "57P01"]


@pytest.mark.usefixtures("fetched")
def test_no_secret_is_in_a_configuration_file_or_a_command(settings: Settings) -> None:
    env = environment(settings)
    secret = {value for name, value in env.items() if re.search("PASSWORD$|SECRET|FERNET", name) and value}
    texts = "".join(path.read_text() for path in STACK.rglob("*") if path.is_file() and path.suffix != ".pyc")
    assert not [value for value in secret if value in texts + env["SPARK_SUBMIT_OPTS"]]


def test_env_prints_what_a_shell_can_evaluate(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACK_HOME", str(settings.home))
    printed = CliRunner().invoke(cli, ["env"]).output
    lines = printed.splitlines()
    assert all(re.fullmatch(r"export \w+='.*'", line) for line in lines)
    assert {line.split("=")[0].removeprefix("export ") for line in lines} == NAMES | {"PATH"}
    output = subprocess.run(
        ["bash", "-euc", f'{printed}\npsql --version; echo "$GOLD_URL"; echo "[$TRINO_PASSWORD]"'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert output[0].startswith("psql (PostgreSQL)")
    assert re.fullmatch(r"postgresql://bi_reader:\w{48}@127\.0\.0\.1:15432/bi", output[1])
    assert output[2] == "[]"


@pytest.mark.usefixtures("fetched")
def test_connections_of_the_stack_avoid_a_proxy(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", ".corp")
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8,.corp")
    env = environment(settings)
    assert env["no_proxy"] == env["NO_PROXY"] == ".corp,10.0.0.0/8,127.0.0.1,localhost"
