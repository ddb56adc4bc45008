"""Settings of a stack in the test's folder, without services and downloads, and a PostgreSQL outside of it."""

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import psycopg2
import pytest
from pydantic import SecretStr

from stack import environment
from stack.settings import Settings
from support.postgres import Server, postgres_server

PASSWORD = "p@ss:w/o?r#d %$&"  # noqa: S105, it has characters that a URL must escape


def erp_url(server: Server, user: str = "reader", password: str = PASSWORD, database: str = "erp") -> str:
    """Return the URL of a database over TCP."""
    return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{server.port}/{database}"


@pytest.fixture(autouse=True)
def defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignore the settings of the machine that runs the tests."""
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"STACK_{name.upper()}", raising=False)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings whose folders are below the test's folder."""
    (tmp_path / "home" / "airflow").mkdir(parents=True)
    return Settings(home=tmp_path / "home", cache=tmp_path / "cache")


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Pretend that the downloads are in the cache."""
    (tmp_path / "jdk").mkdir()
    (tmp_path / "jdk" / "release").touch()
    monkeypatch.setattr(environment, "jdk", lambda engine, settings: tmp_path / "jdk")
    monkeypatch.setattr(environment, "maven", lambda name, settings: tmp_path / f"{name}.jar")
    monkeypatch.setattr(environment, "trino_home", lambda settings: tmp_path / "trino")


@pytest.fixture
def taken_port() -> Iterator[int]:
    """Listen on a port and return it, as if another program used it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="session")
def erp() -> Iterator[Server]:
    """Start a PostgreSQL that asks for passwords, with a database `erp` and a role `reader`."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    with postgres_server(port, tcp=True) as server:
        rules = "local all all trust\nhost all all all scram-sha-256\n"
        (server.folder / "data" / "pg_hba.conf").write_text(rules)
        with closing(psycopg2.connect(server.url())) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute("select pg_reload_conf()")
            cursor.execute("create database erp")
            cursor.execute(f"create role reader login password '{PASSWORD}'")
        yield server


@pytest.fixture
def erp_settings(settings: Settings, erp: Server) -> Settings:
    """Return settings of a stack whose source is `erp`."""
    return settings.model_copy(update={"source_url": SecretStr(erp_url(erp))})
