"""The source: two schemas with a table of one name, and names that must be quoted, on a real PostgreSQL."""

from datetime import UTC, datetime

import pytest

from medallion.engines.postgres import quote
from medallion.project.manifest import SourceTable
from medallion.run import source as source_module
from medallion.run.source import SourceContractError, changed_models, check_source, read_clock
from support.postgres import Server

from ..conftest import Query, connection

TABLES = [
    SourceTable("devices", "plant", "devices", "updated_at", frozenset({"device_id", "updated_at"})),
    SourceTable("office_devices", "office", "devices", "changed", frozenset({"device_id", "changed"})),
    SourceTable("readings", "plant", "Reading Log", "Last Change", frozenset({"Value", "Last Change"})),
    SourceTable("hostile", 'a"b', "x'; drop table t; --", 'c"1', frozenset({'c"1'})),
    SourceTable("share", "plant", "share of 100% {{ now }}", "50%s", frozenset({"50%s"})),
]


@pytest.fixture
def tables(source: Query, monkeypatch: pytest.MonkeyPatch) -> Query:
    """The tables without a row; called with a statement it runs it on the source."""
    for table in TABLES:
        columns = ", ".join(
            f"{quote(name)} {'timestamptz' if name == table.cursor else 'text'}"
            for name in sorted(table.columns)
        )
        source(f"create schema if not exists {quote(table.schema)}")
        source(f"create table {quote(table.schema)}.{quote(table.name)} ({columns})")
    monkeypatch.setattr(source_module, "source_tables", lambda: TABLES)
    return source


def insert(tables: Query, model: str, *changes: str) -> None:
    """Insert rows that last changed at these times."""
    [table] = [table for table in TABLES if table.model == model]
    for change in changes:
        tables(
            f"insert into {quote(table.schema)}.{quote(table.name)} ({quote(table.cursor)}) values ".replace(
                "%", "%%"
            )
            + "(%s)",
            (change,),
        )


def test_source_with_all_tables_passes(tables: Query, caplog: pytest.LogCaptureFixture) -> None:
    check_source()
    assert not caplog.records


def test_every_missing_table_and_column_is_named(tables: Query) -> None:
    tables("drop table office.devices")
    tables("alter table plant.devices drop column device_id")
    tables('alter table plant."Reading Log" rename column "Value" to value')
    tables(f"drop schema {quote('a' + chr(34) + 'b')} cascade")
    with pytest.raises(SourceContractError) as error:
        check_source()
    names = str(error.value).partition(", or the role")[0].removeprefix("The source has no ").split(", no ")
    assert names == [
        """table a"b.x'; drop table t; --""",
        "table office.devices",
        "column plant.Reading Log.Value",
        "column plant.devices.device_id",
    ]


def test_names_are_compared_with_their_case(tables: Query) -> None:
    tables('alter table plant."Reading Log" rename to "reading log"')
    with pytest.raises(SourceContractError, match=r"no table plant\.Reading Log,"):
        check_source()


def test_table_that_the_role_may_not_read_counts_as_missing(
    postgres: Server, tables: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables("create role reader login; grant usage on schema plant, office to reader")
    tables("grant select on all tables in schema plant to reader")
    monkeypatch.setenv("AIRFLOW_CONN_MEDALLION_SOURCE", connection(postgres, "source", login="reader"))
    try:
        with pytest.raises(SourceContractError, match=r"no table office\.devices, or the role"):
            check_source()
    finally:
        tables("drop owned by reader; drop role reader")


def test_new_column_of_the_source_is_reported(tables: Query, caplog: pytest.LogCaptureFixture) -> None:
    tables("alter table office.devices add column channel text")
    check_source()
    assert [record.args for record in caplog.records] == [("office", "devices", "channel")]


def test_project_without_a_table_asks_nothing_of_the_source(
    tables: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "source_tables", list)
    check_source()
    assert read_clock().oldest is None
    assert changed_models("2018-01-01", "2018-01-02") == set()


@pytest.mark.parametrize("model", [table.model for table in TABLES])
def test_change_belongs_to_the_model_of_its_table(tables: Query, model: str) -> None:
    insert(tables, model, "2018-01-03T10:00Z")
    assert changed_models("2018-01-03 10:00:00", "2018-01-03 11:00:00") == {model}
    assert read_clock().oldest == datetime(2018, 1, 3, 10, tzinfo=UTC)


def test_window_includes_its_start_and_excludes_its_end(tables: Query) -> None:
    insert(tables, "devices", "2018-01-03T10:00Z")
    insert(tables, "readings", "2018-01-03T11:00Z")
    assert changed_models("2018-01-03 10:00:00", "2018-01-03 11:00:00") == {"devices"}
    assert changed_models("2018-01-03 10:00:00.000001", "2018-01-03 11:00:00.000001") == {"readings"}


def test_window_is_utc_whatever_the_time_zone_of_the_source(tables: Query) -> None:
    insert(tables, "devices", "2018-01-03T10:00Z")
    tables("alter database source set timezone = 'America/Sao_Paulo'")
    try:
        assert changed_models("2018-01-03 10:00:00", "2018-01-03 10:00:01") == {"devices"}
        assert read_clock().oldest == datetime(2018, 1, 3, 10, tzinfo=UTC)
    finally:
        tables("alter database source reset timezone")


def test_source_without_rows_has_no_oldest_change(tables: Query) -> None:
    clock = read_clock()
    assert clock.oldest is None
    assert abs((datetime.now(UTC) - clock.now).total_seconds()) < 60


def test_oldest_change_is_that_of_any_table(tables: Query) -> None:
    insert(tables, "readings", "2018-01-03T10:00Z", "2018-01-02T10:00Z")
    insert(tables, "office_devices", "2018-01-04T10:00Z")
    assert read_clock().oldest == datetime(2018, 1, 2, 10, tzinfo=UTC)


def test_times_that_no_window_reaches_are_no_oldest_change(tables: Query) -> None:
    insert(tables, "devices", "-infinity", "0044-03-15Z BC", "infinity", "12018-01-03Z")
    assert read_clock().oldest is None
