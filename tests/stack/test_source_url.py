"""A source outside of the stack: the forms of its URL, and the messages if it can't be read."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from click.testing import CliRunner
from psycopg2.extensions import parse_dsn
from pydantic import SecretStr, ValidationError

from stack import pipeline
from stack.__main__ import cli
from stack.environment import connections, environment, public_environment
from stack.errors import StackError
from stack.lifecycle import check_settings_unchanged
from stack.scaffold import tables
from stack.settings import STACK, Settings
from stack.source import Source, check_source
from stack.source_url import jdbc_url, mask, parse_source_url, read_only
from support.postgres import Server
from tests.stack.conftest import PASSWORD, erp_url

URL = "postgresql://me:p%40ss%3A%2F@db.example:6543/erp"


def with_url(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"source_url": SecretStr(url)})


@pytest.fixture
def schema(erp: Server) -> Iterator[Any]:
    """Create a table that `reader` may read; the fixture is a function that runs a statement as the owner."""
    with closing(psycopg2.connect(erp.url(database="erp"))) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(
            "create schema src; create table src.t (id integer primary key, updated_at timestamptz not null);"
            "insert into src.t values (1, '2024-01-01 00:00:00+00');"
            "grant usage on schema src to reader; grant select on src.t to reader"
        )
        yield cursor.execute
        cursor.execute("drop schema src cascade; alter role reader nosuperuser")


def test_variable_is_read_and_its_password_is_nowhere_to_see(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACK_SOURCE_URL", URL)
    read = Settings(home=settings.home)
    assert read.source_url and read.source_url.get_secret_value() == URL
    assert public_environment(read)["SOURCE_URL"] == URL
    assert "p%40ss" not in repr(read) + read.model_dump_json() and "p@ss" not in read.model_dump_json()
    assert mask(URL).startswith("postgresql://me:***@db.example:6543/erp (")


def test_another_password_is_another_setting(settings: Settings) -> None:
    started = with_url(settings, URL)
    (settings.home / "settings.json").write_text(started.model_dump_json())
    check_settings_unchanged(started)
    for other in (with_url(settings, URL.replace("p%40ss", "other")), settings):
        with pytest.raises(StackError, match=r"\(STACK_SOURCE_URL\)"):
            check_settings_unchanged(other)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://me:secret@host/db", "it must be postgresql://user:password@host:port/database"),
        ("postgresql://me:sec/ret@host/db", "%40"),
        ("postgresql://me:sec@ret@host/db", "%40"),
        ("postgresql://me:secret%zz@host/db", "%40"),
        ("postgresql://me:secret@host:x/db", "port"),
        ("postgresql://me:secret@host/db?ssl=maybe", "parameters of libpq"),
        ("postgresql://me:secret@host", "it has no database"),
        ("postgresql://host/db", "it has no user"),
        ("postgresql://me:secret@/db", "it has no host"),
        ("postgresql://me:secret@/db?host=/tmp", "over TCP"),
        ("postgresql://me@h/db?sslpassword=secret", "use a key that needs none"),
    ],
)
def test_a_malformed_url_is_refused_without_a_part_of_it(
    url: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACK_SOURCE_URL", url)
    with pytest.raises(ValidationError) as failure:
        Settings()
    text = str(failure.value)
    assert "source_url" in text and message in text
    assert not re.search("sec|ret@", text.replace("SecretStr", ""))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (URL, "jdbc:postgresql://db.example:6543/erp"),
        ("postgres://me@[::1]/My%20Data", "jdbc:postgresql://[::1]:5432/My%20Data"),
        ("postgresql://me@a:1,b:2/db?target_session_attrs=read-write",
         "jdbc:postgresql://a:1,b:2/db?targetServerType=primary"),
        ("postgresql://me@h/db?sslmode=verify-full&sslrootcert=/c%20a.pem&connect_timeout=5",
         "jdbc:postgresql://h:5432/db?sslmode=verify-full&sslrootcert=%2Fc%20a.pem&connectTimeout=5"),
        ("postgresql://me@h/db?sslmode=require&sslrootcert=system",
         "jdbc:postgresql://h:5432/db?sslmode=verify-full&sslfactory=org.postgresql.ssl.DefaultJavaSSLFactory"),
        ("postgresql://me@h/db?options=-c%20work_mem%3D1MB&client_encoding=utf8",
         "jdbc:postgresql://h:5432/db?options=-c%20work_mem%3D1MB"),
    ],
)  # fmt: skip
def test_java_gets_the_same_address(url: str, expected: str) -> None:
    assert jdbc_url(parse_source_url(url)) == expected


def test_sessions_only_read_and_keep_the_users_options() -> None:
    parameters = read_only(parse_source_url("postgresql://me@h/db?options=-c%20work_mem%3D1MB"))
    assert parameters["options"] == (
        "-c default_transaction_read_only=on -c statement_timeout=15min -c work_mem=1MB"
    )


@pytest.mark.usefixtures("fetched")
def test_airflow_and_trino_get_the_same_login(settings: Settings) -> None:
    outside = with_url(settings, "postgresql://me:p%40%24%25@[::1]:6543/erp?sslmode=require")
    env = environment(outside)
    connection = json.loads(env["AIRFLOW_CONN_MEDALLION_SOURCE"])
    assert (connection["host"], connection["port"], connection["schema"]) == ("::1", 6543, "erp")
    assert (connection["login"], connection["password"]) == ("me", "p@$%")
    assert connection["extra"]["sslmode"] == "require"
    assert (env["STACK_SOURCE_USER"], env["STACK_SOURCE_PASSWORD"]) == ("me", "p@$%")
    assert env["STACK_SOURCE_JDBC_URL"].startswith(
        "jdbc:postgresql://[::1]:6543/erp?sslmode=require&options="
    )
    # Gold and the lake stay in the stack's own database.
    assert json.loads(env["AIRFLOW_CONN_MEDALLION_GOLD"])["host"] == "127.0.0.1"
    catalog = (STACK / "trino" / "etc" / "catalog" / "postgres.properties").read_text()
    assert {"STACK_SOURCE_JDBC_URL", "STACK_SOURCE_USER", "STACK_SOURCE_PASSWORD"} == set(
        re.findall(r"\$\{ENV:(\w+)}", catalog)
    )


def test_several_servers_keep_their_ports(settings: Settings) -> None:
    outside = with_url(settings, "postgresql://me:x@a:1,b:2/erp")
    connection = connections(outside, {"PUBLISHER_PASSWORD": "x"})["medallion_source"]
    extra = connection["extra"]
    assert isinstance(extra, dict)
    # Airflow's hook merges the fields in this way.
    assert ({"port": connection["port"]} | extra)["port"] == "1,2"
    assert parse_dsn(Source(outside).dsn)["port"] == "1,2"


def test_a_password_of_special_characters_logs_in_and_only_reads(
    erp_settings: Settings, schema: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    check_source(erp_settings)
    output = capsys.readouterr().out
    assert "Source: database erp at 127.0.0.1:" in output
    assert "Warning" not in output and PASSWORD not in output
    with closing(Source(erp_settings)) as source:
        assert source.query("select id from src.t") == [(1,)]
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            source.query("create temporary table x as select 1; select 1")
    assert pipeline.source_dsn(erp_settings) == source.dsn


@pytest.mark.parametrize(
    ("user", "password", "database", "message"),
    [
        ("reader", "wrong", "erp", "The user or the password is wrong; in a URL @ is %40"),
        ("nobody", "wrong", "erp", "The user or the password is wrong"),
        ("reader", PASSWORD, "gone", 'database "gone" does not exist'),
    ],
)
def test_a_login_that_fails_says_why(
    settings: Settings, erp: Server, user: str, password: str, database: str, message: str
) -> None:
    outside = with_url(settings, erp_url(erp, user, password, database))
    for command in (check_source, lambda settings: tables.write_table(settings, "a.b")):
        with pytest.raises(StackError) as failure:
            command(outside)
        text = str(failure.value)
        assert message in text and text.startswith(
            f"STACK_SOURCE_URL can't be read: user {user}, database {database}"
        )
        assert PASSWORD not in text and "wrong@" not in text


def test_a_server_that_does_not_answer_is_named(settings: Settings, closed_port: int) -> None:
    with pytest.raises(StackError, match=f"at 127.0.0.1:{closed_port}(.*\n)+Check host and port"):
        check_source(with_url(settings, f"postgresql://me:x@127.0.0.1:{closed_port}/erp"))
    own = settings.model_copy(update={"postgres_port": closed_port})
    check_source(own)
    with pytest.raises(StackError, match=r"Start it \(make up\), or set STACK_SOURCE_URL"):
        tables.write_tables(own, "any", overwrite=False)


def test_a_role_that_could_write_gets_the_grants_to_use_instead(
    erp_settings: Settings, schema: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    schema("grant insert on src.t to reader")
    check_source(erp_settings)
    output = capsys.readouterr().out
    assert "Warning: reader may write to src." in output
    assert 'grant select on all tables in schema "src" to medallion_reader;' in output
    schema("alter role reader superuser")
    check_source(erp_settings)
    assert "Warning: reader is a superuser" in capsys.readouterr().out


def test_a_replica_is_said_aloud(
    erp_settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Source, "query", lambda source, statement: [(False, True, None)])
    check_source(erp_settings)
    assert "It is a replica: a run reads up to the moment" in capsys.readouterr().out


def test_a_missing_right_names_the_grants(
    erp_settings: Settings, schema: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pipeline, "source_tables", lambda: [("src", "t", "updated_at", "UTC")])
    moment = pipeline.first_change(erp_settings)
    assert moment and moment.isoformat() == "2024-01-01T00:00:00+00:00"
    schema("revoke select on src.t from reader")
    with pytest.raises(StackError, match='grant select on all tables in schema "src" to reader'):
        pipeline.first_change(erp_settings)
    schema("revoke usage on schema src from reader")
    with pytest.raises(StackError, match='grant usage on schema "src" to reader'):
        pipeline.first_change(erp_settings)
    with pytest.raises(StackError, match='grant usage on schema "src" to reader'):
        tables.write_table(erp_settings, "src.t", models=tmp_path)


def test_tables_without_times_have_changed_an_hour_ago(
    erp_settings: Settings, schema: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cursor in ("id", ""):
        monkeypatch.setattr(pipeline, "source_tables", lambda cursor=cursor: [("src", "t", cursor, "UTC")])
        assert pipeline.first_change(erp_settings)
    schema("delete from src.t")
    assert pipeline.first_change(erp_settings) is None


@pytest.mark.parametrize(
    ("kind", "zone", "moment"),
    [
        ("timestamp", "Europe/Berlin", "2024-05-31T22:30:00+00:00"),
        ("timestamp", "America/New_York", "2024-06-01T04:30:00+00:00"),
        ("timestamp", "UTC", "2024-06-01T00:30:00+00:00"),
        # A timestamptz has an offset, so the declared zone is ignored.
        ("timestamptz", "Europe/Berlin", "2024-06-01T00:30:00+00:00"),
        ("date", "Europe/Berlin", "2024-05-31T22:00:00+00:00"),
    ],
)
def test_history_begins_by_the_clock_of_the_cursors_zone(
    erp_settings: Settings, schema: Any, monkeypatch: pytest.MonkeyPatch, kind: str, zone: str, moment: str
) -> None:
    schema(
        f"set timezone = 'UTC'; alter table src.t add column at {kind};"
        "insert into src.t values (2, now(), '2024-06-01 00:30'), (3, now(), '2024-06-02'),"
        " (4, now(), '-infinity'), (5, now(), '0001-01-01'), (6, now(), 'infinity')"
    )
    monkeypatch.setattr(pipeline, "source_tables", lambda: [("src", "t", "at", zone)])
    begins = pipeline.first_change(erp_settings)
    assert begins and begins.isoformat() == moment
    schema("delete from src.t where at between '2000-01-01' and '2025-01-01'")
    assert pipeline.first_change(erp_settings) is None


def test_make_env_prints_the_url_unchanged(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACK_HOME", str(settings.home))
    monkeypatch.setenv("STACK_SOURCE_URL", URL)
    assert f"export SOURCE_URL='{URL}'" in CliRunner().invoke(cli, ["env"]).output
