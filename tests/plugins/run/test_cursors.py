"""The cursors of source tables on a real PostgreSQL: their kinds, their preconditions, and the clock of a replica."""

import logging
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import psycopg2
import pytest

from medallion.engines.postgres import reading
from medallion.project.manifest import Capture, SourceTable
from medallion.run import cursors as cursors_module
from medallion.run import source as source_module
from medallion.run.cursors import CursorError, check_cursors, kind_of
from medallion.run.source import changed_models, read_clock
from medallion.settings import SOURCE_CONNECTION, settings
from support.postgres import Server, postgres_server, query
from support.waiting import wait_until

from ..conftest import Query, connection

# Model -> type of the cursor, and its zone.
KINDS = {
    "stamped": ("timestamptz", "UTC"),
    "walled": ("timestamp(3)", "Europe/Berlin"),
    "plain": ("timestamp", "UTC"),
    "dated": ("date", "America/New_York"),
    "counted": ("bigint", "UTC"),
    "precise": ("numeric(12)", "UTC"),
    "tagged": ("works.moment", "UTC"),
}


def table(model: str, cursor: str | None = "At", zone: str = "UTC", capture: str = "window") -> SourceTable:
    return SourceTable(model, "works", model, cursor, zone=zone, capture=Capture(capture))


TABLES = [table(model, zone=zone) for model, (_, zone) in KINDS.items()]


@pytest.fixture
def works(source: Query, monkeypatch: pytest.MonkeyPatch) -> Query:
    """Create a source table per kind of cursor, without rows; the fixture is a function that runs a statement there."""
    source("create schema works; create domain works.moment as timestamptz")
    for model, (kind, _) in KINDS.items():
        source(f'create table works.{model} ("At" {kind} not null)')
    declare(monkeypatch, *TABLES)
    return source


def declare(monkeypatch: pytest.MonkeyPatch, *tables: SourceTable) -> None:
    for module in (source_module, cursors_module):
        monkeypatch.setattr(module, "source_tables", lambda: [*tables])


@pytest.mark.parametrize(
    ("data_type", "kind"),
    [
        ("timestamp with time zone", "timestamptz"), ("timestamp(3) without time zone", "timestamp"),
        ("date", "date"), ("bigint", "number"), ("numeric(20,0)", "number"), ("numeric(20,2)", None),
        ("numeric", None), ("double precision", None), ("text", None), ("time without time zone", None),
    ],
)  # fmt: skip
def test_kind_follows_from_the_type(data_type: str, kind: str | None) -> None:
    assert kind_of(data_type) == kind


@pytest.mark.parametrize(
    ("model", "value", "inside", "outside"),
    [
        ("stamped", "2024-06-01T12:00Z", "2024-06-01 12:00", "2024-06-01 12:01"),
        ("walled", "2024-06-01 12:00", "2024-06-01 10:00", "2024-06-01 12:00"),
        # The clock shows 02:30 twice in that night. The later one counts.
        ("walled", "2023-10-29 02:30", "2023-10-29 01:30", "2023-10-29 00:30"),
        ("plain", "2024-06-01 12:00", "2024-06-01 12:00", "2024-06-01 10:00"),
        # A date counts as the whole day, which ends in New York at 04:00 UTC.
        ("dated", "2024-06-01", "2024-06-02 03:58", "2024-06-02 04:01"),
        ("tagged", "2024-06-01T12:00Z", "2024-06-01 12:00", "2024-06-01 12:01"),
    ],
)
def test_window_finds_a_change_by_its_cursor(
    works: Query, model: str, value: str, inside: str, outside: str
) -> None:
    works(f"insert into works.{model} values (%s)", (value,))
    numbers = {"counted", "precise"}
    for start, expected in ((inside, {model}), (outside, set())):
        moment = datetime.fromisoformat(start)
        assert changed_models(str(moment), str(moment + timedelta(minutes=1))) == expected | numbers


def test_history_begins_at_the_oldest_moment(works: Query) -> None:
    works("insert into works.walled values ('2024-06-01 12:00')")
    assert read_clock().oldest == datetime(2024, 6, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    works("insert into works.plain values ('2024-06-01 09:00')")
    assert read_clock().oldest == datetime(2024, 6, 1, 9, tzinfo=UTC)
    works("insert into works.dated values ('2024-06-01')")
    assert read_clock().oldest == datetime(2024, 6, 1, tzinfo=UTC)


def test_first_day_of_all_is_no_beginning(works: Query) -> None:
    """Some programs write 0001-01-01 for an unknown time. In Berlin that day begins when it is still 1 BC in UTC."""
    works("insert into works.walled values ('0001-01-01')")
    assert read_clock().oldest is None
    works("insert into works.walled values ('2024-06-01 12:00')")
    assert read_clock().oldest == datetime(2024, 6, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))


def test_history_of_tables_without_a_time_begins_with_the_first_run(works: Query) -> None:
    works("insert into works.counted values (7)")
    clock = read_clock()
    assert clock.oldest is not None and timedelta() < clock.now - clock.oldest <= timedelta(hours=1)


def test_table_without_a_cursor_is_always_compared_unless_that_is_done_daily(
    works: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(
        monkeypatch,
        table("stamped", None, capture="full"),
        table("plain", None, capture="daily"),
        table("dated", capture="full"),
    )
    assert changed_models("2018-01-01", "2018-01-02") == {"stamped", "dated"}


def test_every_column_that_is_no_cursor_is_named(works: Query, monkeypatch: pytest.MonkeyPatch) -> None:
    works('alter table works.stamped rename column "At" to at')
    works('alter table works.plain alter "At" type text')
    works('alter table works.precise alter "At" type numeric(12,1)')
    others = [table for table in TABLES if table.model not in ("dated", "tagged")]
    declare(monkeypatch, *others, table("dated", zone="Mars/Base"), table("tagged", None))
    with pytest.raises(CursorError) as error:
        check_cursors()
    message = str(error.value)
    assert (
        "The source has no column works.stamped.At, the cursor (loaded_at_field) of the model stamped"
        in message
    )
    assert "works.plain.At is text, which is no cursor" in message
    assert "works.precise.At is numeric(12,1), which is no cursor" in message
    assert "works.dated.At: cursor_zone 'Mars/Base' is no time zone" in message
    assert "works.tagged has no cursor (loaded_at_field), and no capture" in message
    assert message.endswith("Nothing was written.") and message.count(";") == 4


def test_cursor_that_is_not_granted_is_named(
    postgres: Server, works: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    works("create role reader login; grant usage on schema works to reader")
    works(
        "grant select on all tables in schema works to reader; alter table works.plain add column other text"
    )
    works("revoke select on works.plain from reader; grant select (other) on works.plain to reader")
    monkeypatch.setenv("AIRFLOW_CONN_MEDALLION_SOURCE", connection(postgres, "source", login="reader"))
    try:
        with pytest.raises(CursorError, match=r"may not select the cursor works\.plain\.At: grant it"):
            check_cursors()
    finally:
        works("drop owned by reader; drop role reader")


def test_number_that_is_no_moment_is_named(works: Query) -> None:
    works("insert into works.counted values (1), (253402300800000000)")
    with pytest.raises(CursorError, match=r"works\.counted\.At holds 1 to 253402300800000000; as a cursor"):
        check_cursors()


def test_doubts_are_logged(works: Query, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    works('alter table works.stamped alter "At" drop not null')
    works("insert into works.tagged select now() from generate_series(1, 100000); analyze works.tagged")
    works('create index on works.stamped ("At")')
    check_cursors()
    assert "The cursor works.stamped.At may be null" in caplog.text
    assert "The cursor works.tagged.At has no index" in caplog.text
    assert "works.walled.At has no time zone: it is read as local time in Europe/Berlin" in caplog.text
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 2
    caplog.clear()
    works('create index on works.tagged ("At"); alter table works.stamped alter "At" set not null')
    check_cursors()
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_transaction_that_is_open_for_longer_than_the_lookback_is_reported(
    postgres: Server,
    works: Query,
    source_database: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("MEDALLION_LOOKBACK", "PT0S")
    settings.cache_clear()
    with closing(psycopg2.connect(source_database)) as other, other.cursor() as cursor:
        cursor.execute("select 1")
        check_cursors()
        assert "is open for" not in caplog.text  # the transaction has written nothing
        cursor.execute("insert into works.plain values (now())")
        check_cursors()
        assert "A transaction at the source is open for 0:00:0" in caplog.text
        caplog.clear()
        # A role without further rights can't see when transactions of other sessions began.
        works("create role reader login; grant usage on schema works to reader")
        works("grant select on all tables in schema works to reader")
        monkeypatch.setenv("AIRFLOW_CONN_MEDALLION_SOURCE", connection(postgres, "source", login="reader"))
        check_cursors()
        assert "grant pg_read_all_stats to see it" in caplog.text and "is open for" not in caplog.text
        other.rollback()
    works("drop owned by reader; drop role reader")


def test_source_is_only_read_and_not_for_long(works: Query) -> None:
    limit = "select current_setting('statement_timeout') as value"
    with reading(SOURCE_CONNECTION, timedelta(minutes=2)) as cursor:
        assert cursor.execute(limit).fetchone().value == "2min"
        with pytest.raises(Exception, match="read-only transaction"):
            cursor.execute("insert into works.counted values (1)")
    works("alter database source set statement_timeout = '1min'")
    try:
        with reading(SOURCE_CONNECTION, timedelta(minutes=2)) as cursor:
            assert cursor.execute(limit).fetchone().value == "1min"
    finally:
        works("alter database source reset statement_timeout")


@pytest.fixture(scope="module")
def primary() -> Iterator[Server]:
    with postgres_server(5433) as server:
        yield server


@pytest.fixture(scope="module")
def replica(primary: Server) -> Iterator[Server]:
    """A standby that streams from the primary."""
    query(
        primary.url(),
        'create schema works; create table works.stamped (id integer, "At" timestamptz not null default now())',
    )
    with postgres_server(5434, primary=primary) as server:
        wait_until(
            lambda: query(primary.url(), "select 1 from pg_stat_replication where state = 'streaming'"), 60
        )
        yield server


def test_window_of_a_replica_ends_where_it_has_replayed_its_primary_to(
    primary: Server, replica: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs pass while replay is paused. Rows written meanwhile are in the window of the first run afterwards.

    The length of the pause does not matter, so a short one is enough.
    """
    login = connection(replica, "postgres").replace('"login"', f'"port": {replica.port}, "login"')
    monkeypatch.setenv("AIRFLOW_CONN_MEDALLION_SOURCE", login)
    declare(monkeypatch, table("stamped"))

    def is_at_the_end(position: str) -> bool:
        [(end,)] = query(primary.url(), "select pg_current_wal_flush_lsn()::text")
        [(reached,)] = query(replica.url(), f"select {position}() >= %s::pg_lsn", (end,))
        return bool(reached)

    is_replayed = partial(is_at_the_end, "pg_last_wal_replay_lsn")
    is_received = partial(is_at_the_end, "pg_last_wal_receive_lsn")

    query(primary.url(), "insert into works.stamped values (1)")
    wait_until(is_replayed, 60)
    before = read_clock().now
    query(replica.url(), "select pg_wal_replay_pause()")
    wait_until(lambda: query(replica.url(), "select pg_get_wal_replay_pause_state()") == [("paused",)], 60)
    for row in (2, 3):
        [(written,)] = query(primary.url(), 'insert into works.stamped values (%s) returning "At"', (row,))
        wait_until(is_received, 60)
        clock = read_clock().now
        assert clock == before < written < datetime.now(UTC)
        # No window ends after the replica's clock. So no window includes the row before the replica shows it.
        assert query(replica.url(), "select id from works.stamped") == [(1,)]
    query(replica.url(), "select pg_wal_replay_resume()")
    wait_until(is_replayed, 60)
    end = read_clock().now
    assert end >= written
    assert changed_models(
        f"{before.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}", f"{end.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"
    )
    assert query(
        replica.url(),
        'select array_agg(id order by id) from works.stamped where "At" >= %s and "At" <= %s',
        (before, end),
    ) == [([2, 3],)]


def test_clock_of_a_replica_that_was_restarted_is_not_later_than_what_it_has(
    primary: Server, replica: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = connection(replica, "postgres").replace('"login"', f'"port": {replica.port}, "login"')
    monkeypatch.setenv("AIRFLOW_CONN_MEDALLION_SOURCE", login)
    declare(monkeypatch, table("stamped"))
    query(primary.url(), "checkpoint")
    replica.run("pg_ctl", "stop", "-w", "-m", "fast")
    replica.start()
    [(now,)] = query(replica.url(), "select now()")
    assert read_clock().now <= now
    [(last,)] = query(replica.url(), "select pg_last_xact_replay_timestamp()")
    assert last is None or read_clock().now == last
