"""A run on PostgreSQL servers, roles and poolers with unusual settings works, or its error says what to change."""

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from shutil import which
from typing import Any

import psycopg
import pytest
from airflow.sdk.exceptions import AirflowFailException

from medallion.engines.postgres import describe_lock_holders, reading, render_sql, transaction
from medallion.run.cursors import check_cursors
from medallion.settings import SOURCE_CONNECTION, settings
from medallion.store.migrations import latest_version, read_version, upgrade_store
from medallion.store.pipeline import Run, read_pipeline
from support.postgres import RUN, Server
from support.task_instance import Task
from support.waiting import wait_until

from ..conftest import Query, Stage, connection, create_staging, publish, query_outside
from .conftest import Begin

Configure = Callable[..., None]
# The time when the source's only row changed, and the end of that hour.
OLDEST, END = datetime(2018, 1, 3, 10, tzinfo=UTC), datetime(2018, 1, 3, 11, tzinfo=UTC)
ROW: dict[str, Any] = {"day": "2018-01-03", "readings": 1, "total": 1.25, "_deleted": False}


@pytest.fixture
def configure(postgres: Server, gold: Query, plant: Query) -> Iterator[Configure]:
    """Give all later sessions of the given databases a setting; by default of gold's and the source's."""

    def configure(setting: str, *databases: str) -> None:
        for database in databases or ("bi", "source"):
            query_outside(postgres, f"alter database {database} set {setting}")

    yield configure
    for database in ("bi", "source"):
        query_outside(postgres, f"alter database {database} reset all")


def run_and_publish(gold: Query, begin: Begin, stage: Stage) -> None:
    """Begin one run, and publish a row with another."""
    upgrade_store()
    assert begin()["window"]["window_start"] == "2018-01-03T10:00:00+00:00"
    publish(Task("b", "publish"), stage("b", (OLDEST, END), readings_by_day=[ROW]))
    assert gold("select day::text, readings, total::text from gold.readings_by_day") == [
        ("2018-01-03", 1, "1.25")
    ]
    with transaction() as cursor:
        assert read_pipeline(cursor).watermark == END


@pytest.mark.parametrize(
    "setting",
    [
        "datestyle = 'SQL, DMY'",
        "datestyle = 'German'",
        "timezone = 'Asia/Kathmandu'",
        "client_encoding = 'SQL_ASCII'",
        "standard_conforming_strings = off",
    ],
)
def test_run_publishes_whatever_the_databases_set(
    configure: Configure, gold: Query, begin: Begin, stage: Stage, setting: str
) -> None:
    configure(setting)
    run_and_publish(gold, begin, stage)


def test_age_of_a_transaction_is_read_in_any_style(
    configure: Configure,
    source_database: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEDALLION_LOOKBACK", "PT0S")
    settings.cache_clear()
    configure("intervalstyle = 'sql_standard'")
    with psycopg.connect(source_database) as writer:
        writer.execute("create table plant.open ()")
        check_cursors()
    assert "A transaction at the source is open for 0:00:0" in caplog.text


def test_limits_of_the_role_do_not_end_what_takes_longer(configure: Configure) -> None:
    limits = "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "transaction_timeout"
    for limit in limits:
        configure(f"{limit} = '5s'")
    # After a wait for a lock a statement must see the rows committed meanwhile, so this level must not apply.
    configure("default_transaction_isolation = 'serializable'")

    def read_limits(cursor: Any) -> list[str]:
        names = (*limits, "transaction_isolation")
        return [cursor.execute(f"show {name}".encode()).fetchone()[0] for name in names]

    with transaction() as cursor:
        assert read_limits(cursor) == ["1h", "30s", "1min", "0", "read committed"]
    # At the source the stricter limit applies, the role's or the pipeline's.
    with reading(SOURCE_CONNECTION, settings().task_timeout) as cursor:
        assert read_limits(cursor) == ["5s", "30s", "1min", "5s", "read committed"]


def test_values_are_spelled_alike_in_each_session_of_a_pooler(
    configure: Configure, source_database: str
) -> None:
    """Trino's driver sets `extra_float_digits` in one session of a pooler, and may run its query in another session.

    So the statement returns a call for queries to include, which sets it, if the role's default differs.
    """
    statement = render_sql("source/catalog.sql", tables=[("plant", "devices")])
    query = f"select session from ({statement.decode()}) as columns".encode()
    for role, call in ((0, "set_config('extra_float_digits', '1', true)"), (1, None)):
        configure(f"extra_float_digits = {role}", "source")
        with psycopg.connect(source_database, options="-c TimeZone=UTC") as session:
            session.execute("set extra_float_digits = 3")
            assert {row[0] for row in session.execute(query)} == {call}


def test_functions_and_tables_of_the_search_path_hide_nothing(
    configure: Configure, gold: Query, begin: Begin, stage: Stage
) -> None:
    """PostgreSQL would prefer this function `format`, which fits the arguments better, if we set no search path."""
    gold(
        """
        create schema evil;
        create table evil.pg_class ();
        create table evil.pipeline ();
        create function evil.format(text, regnamespace, name) returns text language sql
            as $$ select 'gold.readings_by_day' $$
        """
    )
    try:
        configure("search_path = evil, public", "bi")
        create_staging(gold, "readings_by_day_0_1", {"day": "date"})
        run_and_publish(gold, begin, stage)
        assert gold("select count(*) from pg_tables where schemaname = 'staging'") == [(0,)]
    finally:
        gold("drop schema evil cascade")


@pytest.mark.parametrize(
    ("setting", "database", "message"),
    [
        (
            "search_path = evil, pg_catalog",
            "bi",
            "medallion_gold: the search path of the role is evil, pg_catalog",
        ),
        (
            'search_path = "$user", pg_catalog',
            "source",
            "medallion_source: the search path of the role is $user, pg",
        ),
        (
            "default_transaction_read_only = on",
            "bi",
            'only reads. Name the primary, or alter role "postgres" set default_transaction_read_only = off',
        ),
    ],
)
def test_setting_that_no_session_can_make_up_for_is_named(
    configure: Configure, gold: Query, begin: Begin, setting: str, database: str, message: str
) -> None:
    configure(setting, database)
    with pytest.raises(AirflowFailException) as error:
        begin()
    assert message in str(error.value)
    assert gold("select count(*) from audit.runs") == [(0,)]


@pytest.fixture
def encoded(
    postgres: Server, plant: Query, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str], str]]:
    """Create a database with an encoding, point a connection to it, and return its URL."""

    def create(encoding: str, connection_id: str) -> str:
        query_outside(
            postgres, f"create database encoded encoding '{encoding}' locale 'C' template template0"
        )
        monkeypatch.setenv(f"AIRFLOW_CONN_{connection_id.upper()}", connection(postgres, "encoded"))
        return postgres.url(database="encoded")

    yield create
    query_outside(postgres, "drop database if exists encoded with (force)")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_source_of_another_encoding_is_read(
    encoded: Callable[[str, str], str], begin: Begin, encoding: str
) -> None:
    with psycopg.connect(encoded(encoding, "medallion_source"), client_encoding="UTF8") as source:
        source.execute(
            """
            create schema plant;
            create table plant.devices (device_id text, site text, "größe" text, updated_at timestamptz not null);
            create table plant."Reading Log" (
                reading_id text, device_id text, read_at timestamp, amount numeric(18, 2), updated_at timestamptz
            );
            insert into plant.devices values ('ä', 'é', 'ß', '2018-01-03T10:00Z')
            """
        )
    assert begin()["window"]["window_start"] == "2018-01-03T10:00:00+00:00"


def test_gold_in_ascii_works(encoded: Callable[[str, str], str], begin: Begin) -> None:
    encoded("SQL_ASCII", "medallion_gold")
    begin("läuft 😀")
    with transaction() as cursor:
        assert read_pipeline(cursor).holder == Run("medallion_hourly", "läuft 😀")


def test_gold_in_latin_1_is_refused(encoded: Callable[[str, str], str], begin: Begin) -> None:
    encoded("LATIN1", "medallion_gold")
    with pytest.raises(AirflowFailException, match="medallion_gold: the database has the encoding LATIN1"):
        begin()


@pytest.fixture
def pooler(
    postgres: Server, gold: Query, plant: Query, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., None]]:
    """Start a pooler in a mode, and point both connections to it; `extra`: extra fields of the connections."""
    program = which("pgbouncer")
    # No Python package has the program, so the lock file can't install it.
    if not program:
        pytest.skip("needs PgBouncer (Debian: apt-get install pgbouncer)")
    folder, started = postgres.folder, []

    def start(mode: str, **extra: str) -> None:
        (folder / "users").write_text('"postgres" ""\n')
        (folder / "pgbouncer.ini").write_text(
            f"""
[databases]
* = host={folder} port={postgres.port}
[pgbouncer]
pool_mode = {mode}
auth_type = trust
auth_file = {folder / "users"}
unix_socket_dir = {folder}
listen_port = 6432
logfile = {folder / "pgbouncer.log"}
"""
        )
        started.append(subprocess.Popen([RUN, program, folder / "pgbouncer.ini"], stderr=subprocess.DEVNULL))
        wait_until((folder / ".s.PGSQL.6432").exists, seconds=10, every=0.05)
        for name, database in (("GOLD", "bi"), ("SOURCE", "source")):
            fields = json.loads(connection(postgres, database)) | {"port": 6432, "extra": extra}
            monkeypatch.setenv(f"AIRFLOW_CONN_MEDALLION_{name}", json.dumps(fields))

    yield start
    for process in started:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_run_publishes_through_a_pooler(
    pooler: Callable[..., None], configure: Configure, gold: Query, begin: Begin, stage: Stage, mode: str
) -> None:
    # A client of a pooler gets these settings as the server has them.
    configure("datestyle = 'SQL, DMY'")
    configure("intervalstyle = 'iso_8601'")
    pooler(mode)
    gold("drop schema audit, staging, gold cascade")
    run_and_publish(gold, begin, stage)
    assert read_version()[0] == latest_version()
    assert "pgbouncer" not in describe_lock_holders()


@pytest.mark.parametrize(
    ("mode", "extra", "message"),
    [
        ("transaction", {"options": "-c statement_timeout=1min"}, "unsupported startup parameter"),
        ("statement", {}, "transaction blocks not allowed"),
    ],
)
def test_pooler_that_can_not_serve_is_named(
    pooler: Callable[..., None], begin: Begin, mode: str, extra: dict[str, str], message: str
) -> None:
    pooler(mode, **extra)
    with pytest.raises(AirflowFailException, match=f"medallion_gold leads to a pooler.*{message}.*own port"):
        begin()
