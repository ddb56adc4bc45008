"""The check of the source, on a real PostgreSQL. Two schemas have a table of the same name; some names need quotes."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from medallion.engines.postgres import quote
from medallion.project.manifest import SourceTable
from medallion.run import source as source_module
from medallion.run.source import SourceContractError, changed_models, check_source, read_clock
from support.postgres import Server

from ..conftest import Query, connection

TABLES = [
    SourceTable("devices", "plant", "devices", "updated_at", ("device_id",)),
    SourceTable("office_devices", "office", "devices", "changed", ("device_id",)),
    SourceTable("readings", "plant", "Reading Log", "Last Change", ("value",)),
    SourceTable("hostile", 'a"b', "x'; drop table t; --", 'c"1'),
    SourceTable("share", "plant", "share of 100% {{ now }}", "50%s"),
]
READS = {"devices": {"site"}}  # columns of bronze that silver reads
COLUMNS = {"devices": ["device_id", "site"], "office_devices": ["device_id"], "readings": ["Value"]}


@pytest.fixture
def tables(source: Query, monkeypatch: pytest.MonkeyPatch) -> Query:
    """Create the source tables without rows; the fixture is a function that runs a statement on the source."""
    for table in TABLES:
        texts = [f"{quote(name)} text" for name in COLUMNS.get(table.model, [])]
        columns = ", ".join([*texts, f"{quote(table.cursor)} timestamptz"])
        source(f"create schema if not exists {quote(table.schema)}")
        source(f"create table {quote(table.schema)}.{quote(table.name)} ({columns})")
    monkeypatch.setattr(source_module, "source_tables", lambda: TABLES)
    monkeypatch.setattr(source_module, "columns_read", lambda: READS)
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


def problems() -> list[str]:
    """Return the problems that the check finds."""
    with pytest.raises(
        SourceContractError, match=r"^The source is not as the models need it\. Nothing was"
    ) as error:
        check_source()
    return [line.removeprefix("- ") for line in str(error.value).splitlines()[1:]]


@pytest.fixture
def reader(postgres: Server, tables: Query, monkeypatch: pytest.MonkeyPatch) -> Iterator[Query]:
    """Check the source as a role that may read all tables and owns none."""
    schemas = ", ".join(sorted({quote(table.schema) for table in TABLES}))
    tables(f"create role reader login; grant usage on schema {schemas} to reader")
    tables(f"grant select on all tables in schema {schemas} to reader")
    monkeypatch.setenv("AIRFLOW_CONN_MEDALLION_SOURCE", connection(postgres, "source", login="reader"))
    yield tables
    tables("drop owned by reader; drop role reader")


def declare(monkeypatch: pytest.MonkeyPatch, model: str, **changes: Any) -> None:
    """Let the project declare only this model's table, with changed fields."""
    [table] = [table for table in TABLES if table.model == model]
    monkeypatch.setattr(source_module, "source_tables", lambda: [replace(table, **changes)])


def test_every_missing_table_and_column_is_named(tables: Query) -> None:
    tables("drop table office.devices")
    tables("alter table plant.devices drop column site, drop column device_id")
    tables('alter table plant."Reading Log" rename column "Last Change" to "last change"')
    tables(f"drop schema {quote('a' + chr(34) + 'b')} cascade")
    assert "no column site, which include/dbt/models/silver/staging/stg_devices.sql needs" in problems()[-1]
    assert [problem.partition(",")[0].partition(". ")[0] for problem in problems()] == [
        """a"b.x'; drop table t; --: the source has no such table""",
        "office.devices: the source has no such table",
        "plant.Reading Log: the source has no column Last Change",
        "plant.devices: the source has no column device_id",
        "plant.devices: the source has no column site",
    ]


def test_names_are_compared_with_their_case(tables: Query) -> None:
    tables('alter table plant."Reading Log" rename to "reading log"')
    [problem] = problems()
    assert problem.startswith("plant.Reading Log: the source has no such table. Restore it")


@pytest.mark.parametrize(
    "right", ["select on office.devices", "usage on schema office", "select on all tables in schema office"]
)
def test_table_that_the_role_may_not_read_is_named_with_the_grant(reader: Query, right: str) -> None:
    reader(f"revoke {right} from reader")
    assert problems() == [
        "office.devices: the role reader of the connection medallion_source may not read it. At the source:"
        ' grant usage on schema "office" to "reader"; grant select on "office"."devices" to "reader"'
    ]


def test_columns_that_the_role_may_not_read_are_left_out(
    reader: Query, caplog: pytest.LogCaptureFixture
) -> None:
    reader("alter table office.devices add column salary numeric, add column notes text")
    reader(
        "revoke select on office.devices from reader; grant select (device_id, changed) on office.devices to reader"
    )
    check_source()
    assert [record.message for record in caplog.records] == [
        "office.devices: the role reader may not read salary, notes. Bronze leaves that out."
    ]


@pytest.mark.parametrize(("granted", "missing"), [("device_id", "changed"), ("changed", "device_id")])
def test_key_and_cursor_must_be_granted(reader: Query, granted: str, missing: str) -> None:
    reader("revoke select on office.devices from reader")
    reader(f"grant select ({granted}) on office.devices to reader")
    assert problems() == [
        f"office.devices: the role reader may not read the column {missing}, which"
        " include/dbt/models/bronze/office_devices.yml needs. At the source:"
        f' grant select ("{missing}") on "office"."devices" to "reader"'
    ]


@pytest.mark.parametrize(
    ("kind", "statement"),
    [
        ("view", "create view office.devices as select * from office.moved"),
        ("materialized view", "create materialized view office.devices as select * from office.moved"),
        (
            "partitioned table",
            "create table office.devices (device_id text, changed timestamptz) partition by range (changed)",
        ),
        ("parent", "create table office.devices (device_id text, changed timestamptz);"
                   " create table office.child () inherits (office.devices)"),
        ("foreign table", "create extension file_fdw with schema office;"
                          " create server files foreign data wrapper file_fdw;"
                          " create foreign table office.devices (device_id text, changed timestamptz)"
                          " server files options (filename '/nowhere')"),
    ],
)  # fmt: skip
def test_relation_of_any_kind_is_a_table(reader: Query, kind: str, statement: str) -> None:
    reader("alter table office.devices rename to moved")
    reader(statement)
    reader("grant select on office.devices to reader")
    check_source()


def test_materialized_view_without_content_is_named(reader: Query) -> None:
    reader("alter table office.devices rename to moved")
    reader("create materialized view office.devices as select * from office.moved with no data")
    reader("grant select on office.devices to reader")
    assert problems() == [
        "office.devices: the view has no content yet. At the source: refresh materialized view"
        ' "office"."devices"'
    ]


POLICY = (
    "office.devices: row policies may hide rows from the role reader (%s). The daily comparison counts no row"
)


@pytest.mark.parametrize(
    ("statements", "policies"),
    [
        ("create policy mine on office.devices using (device_id = current_user)", "mine"),
        ("create policy a on office.devices to reader using (true);"
         " create policy b on office.devices as restrictive using (device_id <> 'x')", "a, b"),
        ("", "row security that grants no row"),
        ("create policy writers on office.devices for update using (true)", "row security that grants no row"),
        ("create policy all_rows on office.devices for select to reader using (true)", None),
        ("alter role reader bypassrls; create policy mine on office.devices using (false)", None),
        ("alter table office.devices disable row level security", None),
        ("alter table office.devices owner to reader; create policy mine on office.devices using (false)", None),
        ("alter table office.devices owner to reader; alter table office.devices force row level security;"
         " create policy mine on office.devices using (false)", "mine"),
    ],
)  # fmt: skip
def test_row_policies_that_apply_to_the_role_are_reported(
    reader: Query, caplog: pytest.LogCaptureFixture, statements: str, policies: str | None
) -> None:
    reader("alter table office.devices enable row level security")
    if statements:
        reader(statements)
    check_source()
    messages = [record.message.partition(" of it as")[0] for record in caplog.records]
    assert messages == ([POLICY % policies] if policies else [])


@pytest.mark.parametrize(("invoker", "is_reported"), [("true", True), ("false", False)])
def test_row_policies_count_for_the_role_by_which_a_view_reads(
    reader: Query, caplog: pytest.LogCaptureFixture, invoker: str, is_reported: bool
) -> None:
    reader("alter table office.devices rename to moved; alter table office.moved enable row level security")
    reader("create policy mine on office.moved using (device_id = current_user)")
    reader("create view office.between with (security_invoker = true) as select * from office.moved")
    reader(f"create view office.devices with (security_invoker = {invoker}) as select * from office.between")
    reader("grant select on office.devices, office.between to reader")
    check_source()
    messages = [record.message.partition(" of it as")[0] for record in caplog.records]
    assert messages == ([POLICY % "moved: mine"] if is_reported else [])


def test_columns_that_are_left_out_or_hashed_must_exist_and_not_be_needed(
    tables: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(monkeypatch, "devices", left_out=("Site", "device_id"), hashed=("nothing", "updated_at"))
    file = "include/dbt/models/bronze/devices.yml"
    assert problems() == [
        f"plant.devices: the source has no column Site, which leave_out in {file} names.",
        f"plant.devices: the source has no column nothing, which hash in {file} names.",
        f"plant.devices: updated_at is the loaded_at_field, so it can't be hashed: see {file}.",
        f"plant.devices: {file} needs device_id, so it can't be left out: see leave_out in {file}.",
    ]
    monkeypatch.setattr(source_module, "columns_read", dict)
    declare(monkeypatch, "devices", left_out=("site",), hashed=("device_id",))
    check_source()


@pytest.mark.parametrize(
    ("primary_key", "key", "is_refused"),
    [
        ("device_id", ("device_id",), False),
        ("device_id, site", ("device_id",), True),
        ('"Part", device_id', ("device_id",), True),
        ('"Part", device_id', ("device_id", "part"), False),
        # The natural key is not the table's earlier primary key, so a change of the primary key does not matter.
        ("device_id, site", ("device_id", "part"), False),
    ],
)
def test_primary_key_that_got_a_column_is_named(
    tables: Query, monkeypatch: pytest.MonkeyPatch, primary_key: str, key: tuple[str, ...], is_refused: bool
) -> None:
    tables('alter table plant.devices add column "Part" text, add primary key (device_id)')
    declare(monkeypatch, "devices", key=key)
    check_source()
    tables(f"alter table plant.devices drop constraint devices_pkey, add primary key ({primary_key})")
    if not is_refused:
        return check_source()
    [problem] = problems()
    names = primary_key.replace('"', "").lower()
    assert problem.startswith(
        f"plant.devices: its primary key is ({', '.join(sorted(names.split(', ')))}), so several rows may share the"
        " natural_key (device_id) in include/dbt/models/bronze/devices.yml. Undo the change"
    )


def test_names_in_bronze_are_lower_case_and_differ(tables: Query, monkeypatch: pytest.MonkeyPatch) -> None:
    tables(
        'create table plant.twins ("A" int, a int, "Ä" int, _op int, "a_2" int, "ä" int, changed timestamptz)'
    )
    names = ["a", "a_2", "ä", "_op_2", "a_2_2", "ä_2", "changed"]
    table = SourceTable("twins", "plant", "twins", "changed")
    monkeypatch.setattr(source_module, "source_tables", lambda: [table])
    monkeypatch.setattr(source_module, "columns_read", lambda: {"twins": {*names, "a_3", "_op"}})
    assert [problem.partition(", which")[0] for problem in problems()] == [
        "plant.twins: the source has no column _op",
        "plant.twins: the source has no column a_3",
    ]


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
