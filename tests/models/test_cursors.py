"""Cursors of every kind on the real engines: the rows that windows capture, and those that a reconciliation finds.

A repeated window or reconciliation captures nothing more. The tests depend on one another, in the order of this file.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.engines import BronzeProject, Engines, bronze_project

FRESHNESS = "config: {freshness: {error_after: {count: 2, period: hour}}}"
# Table -> the name and type of its cursor column, the declarations of its source, and those of its model's meta.
TABLES = {
    "stamped": ("changed", "timestamptz", "loaded_at_field: changed", ""),
    "walled": (
        "Changed On",
        "timestamp",
        f"loaded_at_field: Changed On, meta: {{cursor_zone: Europe/Berlin}}, {FRESHNESS}",
        "",
    ),
    "plain": ("updated_at", "timestamp", "loaded_at_field: updated_at", ""),
    "dated": (
        "day",
        "date",
        f"loaded_at_field: day, meta: {{cursor_zone: America/New_York}}, {FRESHNESS}",
        "",
    ),
    "counted": ("n", "bigint", "loaded_at_field: n", ""),
    "precise": ("n", "numeric(15,0)", "loaded_at_field: n", ""),
    "bare": ("memo", "text", "", ""),
    "lazy": ("memo", "text", "", ", capture: daily"),
}
FINDINGS = ("missed", "deleted", "went_back", "unmoved", "null_cursor", "ahead", "ambiguous")
# The window that the tests capture.
JUNE = {"extract_from": "2024-06-01 00:00:00", "extract_to": "2024-06-02 00:00:00"}
# The range that a reconciliation regards as covered by earlier windows.
YEARS = {"extract_from": "2000-01-01 00:00:00", "extract_to": "2024-07-01 00:00:00"}


def write_models(tables: dict[str, tuple[str, str, str, str]]) -> dict[str, str]:
    """Return the files of a model and a source for each table: name -> text."""
    files = {}
    for table, (_, _, source, model) in tables.items():
        files[f"{table}.sql"] = f"select * from {{{{ source('{table}s', '{table}') }}}}"
        files[f"{table}.yml"] = (
            f"sources:\n  - name: {table}s\n    schema: works\n    description: Source.\n"
            f"    tables:\n      - {{name: {table}, {source}}}\n"
            f"models:\n  - name: {table}\n    description: Changelog.\n"
            f"    config: {{meta: {{natural_key: [id]{model}}}}}\n"
        )
    return files


@pytest.fixture(scope="module")
def project(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BronzeProject]:
    engines.source("create schema works; grant usage on schema works to source_reader")
    for table, (cursor, kind, *_) in TABLES.items():
        engines.source(f'create table works.{table} (id integer, note text, "{cursor}" {kind})')
        engines.source(f"grant select on works.{table} to source_reader")
    yield bronze_project(engines, tmp_path_factory.mktemp("cursors"), write_models(TABLES))
    engines.source("drop schema works cascade")


def insert(engines: Engines, table: str, *rows: tuple[int, str, Any]) -> None:
    for row in rows:
        engines.source(f"insert into works.{table} values (%s, %s, %s)", row)


def current(engines: Engines, table: str, columns: str = "note") -> list[tuple[Any, ...]]:
    """Return keys and columns of the current rows: of each key's latest version in bronze, if it is no delete."""
    return engines.lake(
        f"with numbered as (select *, row_number() over (partition by id"
        f" order by _changed_at desc, _batch desc, _op, _hash desc) as place from bronze.{table})"
        f" select id, {columns} from numbered where place = 1 and _op = 'upsert' order by 1"
    )


def versions(engines: Engines, table: str, batch: int | None = None) -> list[tuple[Any, ...]]:
    """Return the versions in bronze, of one batch or of all: key, operation, note, time in UTC."""
    return engines.lake(
        "select id, _op, note, cast(cast(_changed_at at time zone 'UTC' as timestamp(6)) as varchar)"
        f" from bronze.{table} where _batch = {batch or '_batch'} order by 1, 4, 2"
    )


def source_rows(engines: Engines, table: str, columns: str = "note") -> list[tuple[Any, ...]]:
    return engines.source(f"select id, {columns} from works.{table} order by 1")


def findings(engines: Engines, batch: int) -> dict[str, dict[str, int]]:
    """Return the counts of a reconciliation that are not zero: table -> finding -> count."""
    rows = engines.gold(
        f"select table_name, {', '.join(FINDINGS)} from audit.reconciliations where batch = {batch}"
    )
    return {
        table: {name: count for name, count in zip(FINDINGS, counts, strict=True) if count}
        for table, *counts in rows
    }


def compare(project: BronzeProject, *tables: str, **context: Any) -> dict[str, dict[str, int]]:
    batch, _ = project.run(*tables, kind="reconcile", **YEARS, **context)
    return findings(project.engines, batch)


def test_a_window_captures_by_each_kind_of_cursor(engines: Engines, project: BronzeProject) -> None:
    at = "2024-06-01 12:00:00"
    insert(
        engines, "stamped", (1, "in", f"{at}+00"), (2, "late", "2024-06-02 00:00:00+00"), (3, "null", None)
    )
    # The cursor has times of Berlin, which is two hours ahead of UTC, so the window is from 02:00 to 02:00.
    insert(engines, "walled", (1, "in", "2024-06-01 02:00:00"), (2, "before", "2024-06-01 01:59:59.999999"),
           (3, "in", "2024-06-02 01:59:59.999999"), (4, "after", "2024-06-02 02:00:00"))  # fmt: skip
    insert(engines, "plain", (1, "in", at), (2, "after", "2024-06-02 00:00:00"))
    # In New York, four hours behind UTC, the window begins on 31 May and ends on 1 June.
    insert(engines, "dated", (1, "in", "2024-05-31"), (2, "in", "2024-06-01"), (3, "before", "2024-05-30"),
           (4, "after", "2024-06-02"))  # fmt: skip
    insert(engines, "counted", (1, "in", -5), (2, "in", 7), (3, "null", None))
    insert(engines, "precise", (1, "in", 999999999999))
    insert(engines, "bare", (1, "in", "memo"))
    insert(engines, "lazy", (1, "not hourly", "memo"))
    batch, _ = project.run(*TABLES, **JUNE)
    assert {table: [row[0] for row in versions(engines, table, batch)] for table in TABLES} == {
        "stamped": [1], "walled": [1, 3], "plain": [1], "dated": [1, 2], "counted": [1, 2], "precise": [1],
        "bare": [1], "lazy": [],
    }  # fmt: skip
    assert versions(engines, "walled")[0][3] == "2024-06-01 00:00:00.000000"
    assert [row[3] for row in versions(engines, "dated")] == [
        "2024-05-31 00:00:00.000000", "2024-06-01 00:00:00.000000",
    ]  # fmt: skip
    assert [row[3] for row in versions(engines, "counted")] == [
        "1969-12-31 23:59:59.999995", "1970-01-01 00:00:00.000007",
    ]  # fmt: skip
    assert versions(engines, "precise")[0][3] == "1970-01-12 13:46:39.999999"
    again, _ = project.run(*TABLES, **JUNE)
    for table in TABLES:
        assert versions(engines, table, again) == []


def test_a_number_is_read_from_the_highest_in_bronze(engines: Engines, project: BronzeProject) -> None:
    # Add rows with the highest number in bronze, a higher and a lower number. Only a reconciliation finds the last one.
    insert(engines, "counted", (4, "same", 7), (5, "higher", 8), (6, "lower", 3))
    batch, _ = project.run("counted", extract_from="1990-01-01 00:00:00", extract_to="1990-01-02 00:00:00")
    assert [row[0] for row in versions(engines, "counted", batch)] == [4, 5]


def test_many_numbers_are_captured_in_chunks(engines: Engines, project: BronzeProject) -> None:
    engines.source(
        "insert into works.precise select i, 'x', 1000000000000 + i from generate_series(2, 5000) as i;"
        " update works.precise set n = 1000000002000 where id between 10 and 4000"
    )
    project.run("precise", chunk_rows=300)
    assert current(engines, "precise") == source_rows(engines, "precise")


def test_a_comparison_captures_what_windows_cannot_see_and_once(
    engines: Engines, project: BronzeProject
) -> None:
    insert(
        engines, "stamped", (4, "ahead", "2062-01-01 00:00:00+00"), (5, "missed", "2024-01-01 00:00:00+00")
    )
    insert(engines, "precise", (2, "an older twin", 5))
    assert compare(project, *TABLES) == {
        "stamped": {"missed": 2, "null_cursor": 1, "ahead": 1},
        "walled": {"missed": 2}, "plain": {"missed": 1}, "dated": {"missed": 2},
        "counted": {"missed": 1, "null_cursor": 1},
        "precise": {"ambiguous": 1},
        "bare": {}, "lazy": {"unmoved": 1},
    }  # fmt: skip
    for table in TABLES:
        if table != "precise":
            assert current(engines, table) == source_rows(engines, table), table
    # A null cursor counts as 1970, and one in the future as the time of the reconciliation.
    times = {row[0]: row[3] for row in versions(engines, "stamped")}
    assert times[3] == "1970-01-01 00:00:00.000000"
    assert "2024" < times[4] < "2062"

    again = compare(project, *TABLES)
    assert again == {
        "stamped": {"null_cursor": 1, "ahead": 1}, "walled": {}, "plain": {}, "dated": {},
        "counted": {"null_cursor": 1}, "precise": {"ambiguous": 1}, "bare": {}, "lazy": {},
    }  # fmt: skip
    newest = max(batch for (batch,) in engines.lake("select max(_batch) from bronze.stamped"))
    project.run(*TABLES, **JUNE)
    assert engines.lake("select max(_batch) from bronze.stamped") == [(newest,)]


def test_a_row_whose_cursor_is_null_changes_and_gets_a_cursor(
    engines: Engines, project: BronzeProject
) -> None:
    engines.source("update works.stamped set note = 'still null' where id = 3")
    assert compare(project, "stamped")["stamped"] == {"null_cursor": 1, "ahead": 1}
    assert current(engines, "stamped") == source_rows(engines, "stamped")
    engines.source("update works.stamped set note = 'old', changed = '2001-01-01Z' where id = 3")
    project.run("stamped")
    assert current(engines, "stamped") == source_rows(engines, "stamped")
    engines.source("update works.stamped set note = 'null again', changed = null where id = 3")
    engines.source("update works.stamped set note = 'on time', changed = now() where id = 4")
    project.run("stamped")
    assert compare(project, "stamped")["stamped"] == {"null_cursor": 1}
    assert current(engines, "stamped") == source_rows(engines, "stamped")


def test_restored_rows_come_back_and_go_again(engines: Engines, project: BronzeProject) -> None:
    """Two deleted rows are restored: one unchanged, one from a backup with an older cursor."""
    insert(engines, "stamped", (8, "same", "2024-03-01Z"), (9, "new", "2024-03-01Z"))
    project.run("stamped")
    engines.source("delete from works.stamped where id in (8, 9)")
    assert compare(project, "stamped")["stamped"] == {"deleted": 2, "null_cursor": 1}
    insert(engines, "stamped", (8, "same", "2024-03-01Z"), (9, "old", "2024-02-01Z"))
    assert compare(project, "stamped")["stamped"] == {"unmoved": 1, "went_back": 1, "null_cursor": 1}
    assert current(engines, "stamped") == source_rows(engines, "stamped")
    project.run("stamped")
    assert compare(project, "stamped")["stamped"] == {"null_cursor": 1}
    assert current(engines, "stamped") == source_rows(engines, "stamped")
    engines.source("delete from works.stamped where id in (8, 9)")
    assert compare(project, "stamped")["stamped"] == {"deleted": 2, "null_cursor": 1}
    assert current(engines, "stamped") == source_rows(engines, "stamped")


def test_a_table_without_a_cursor_is_compared_in_each_run(engines: Engines, project: BronzeProject) -> None:
    insert(engines, "bare", (2, "second", "memo"))
    engines.source("update works.bare set note = 'changed' where id = 1")
    project.run("bare", "lazy", **JUNE)
    assert current(engines, "bare") == source_rows(engines, "bare") == [(1, "changed"), (2, "second")]
    engines.source("update works.bare set note = 'in' where id = 1; delete from works.bare where id = 2")
    engines.source("update works.lazy set note = 'changed'")
    project.run("bare", "lazy", **JUNE)
    assert current(engines, "bare") == source_rows(engines, "bare") == [(1, "in")]
    assert current(engines, "lazy") == [(1, "not hourly")]
    times = [row[3] for row in versions(engines, "bare") if row[0] == 1]
    assert len(times) == 3 and times == sorted(set(times))
    assert compare(project, "bare", "lazy") == {"bare": {}, "lazy": {"unmoved": 1}}
    assert current(engines, "lazy") == source_rows(engines, "lazy")


def test_columns_that_come_and_go_are_captured_once(engines: Engines, project: BronzeProject) -> None:
    before = len(versions(engines, "plain"))
    engines.source("alter table works.plain add column empty text")
    assert compare(project, "plain") == {"plain": {}}
    engines.source("alter table works.plain add column filled text not null default 'yes'")
    assert compare(project, "plain") == {"plain": {"unmoved": 2}}
    assert current(engines, "plain", "note, filled") == source_rows(engines, "plain", "note, filled")
    assert compare(project, "plain") == {"plain": {}}
    assert len(versions(engines, "plain")) == before + 2
    engines.source("alter table works.plain rename column filled to renamed")
    assert compare(project, "plain") == {"plain": {"unmoved": 2}}
    assert current(engines, "plain", "note, renamed, filled") == source_rows(
        engines, "plain", "note, renamed, null"
    )
    engines.source("alter table works.plain drop column renamed")
    assert compare(project, "plain") == {"plain": {"unmoved": 2}}
    assert current(engines, "plain", "note, renamed") == source_rows(engines, "plain", "note, null")
    assert compare(project, "plain") == {"plain": {}}
    # Without the column, each row equals an earlier version, which is not added a second time.
    assert len(versions(engines, "plain")) == before + 4


def test_a_reloaded_table_has_new_versions_where_it_differs(engines: Engines, project: BronzeProject) -> None:
    engines.source(
        "create table works.copy as select * from works.walled; truncate works.walled;"
        " insert into works.walled select * from works.copy; drop table works.copy;"
        " update works.walled set note = 'reloaded', \"Changed On\" = '2024-06-15' where id = 1"
    )
    batch, _ = project.run("walled")
    assert versions(engines, "walled", batch) == [(1, "upsert", "reloaded", "2024-06-14 22:00:00.000000")]
    assert compare(project, "walled") == {"walled": {}}


def test_rows_of_the_hour_that_a_zone_repeats_are_all_captured(
    engines: Engines, project: BronzeProject
) -> None:
    insert(engines, "walled", (20, "second 02:30", "2023-10-29 02:30"), (21, "gap", "2023-03-26 02:30"))
    for day in ("2023-10-29", "2023-03-26"):
        project.run("walled", extract_from=f"{day} 01:00:00", extract_to=f"{day} 02:00:00")
    moments = {row[0]: row[3] for row in versions(engines, "walled")}
    assert moments[20] == "2023-10-29 01:30:00.000000" and moments[21] == "2023-03-26 01:30:00.000000"


def test_age_of_a_table_is_that_of_its_last_moment(engines: Engines, project: BronzeProject) -> None:
    """A change an hour ago, in Berlin's time, is fresh; rows in the future are ignored. A change of 2024 is too old."""
    insert(engines, "walled", (40, "ahead", "2062-01-01"))
    engines.source(
        "insert into works.walled values (41, 'fresh', (now() - interval '1 hour') at time zone 'Europe/Berlin')"
    )
    assert project.freshness() == {"walled": "pass", "dated": "error"}


def test_a_cursor_that_changes_its_kind_stops_its_table(engines: Engines, project: BronzeProject) -> None:
    engines.source("alter table works.stamped alter changed type timestamp")
    _, output = project.run("stamped", "plain", fails=True)
    assert "The cursor works.stamped.changed is timestamp without time zone at the source now" in output
    assert "works.plain" not in output
    engines.source("alter table works.stamped alter changed type timestamptz")
    project.run("stamped")


def test_bronze_of_an_earlier_version_is_upgraded(
    engines: Engines, project: BronzeProject, tmp_path: Path
) -> None:
    insert(engines, "plain", (30, "new", "2024-06-20"))
    engines.lake(
        "create table bronze.plain_old with (partitioning = array['month(updated_at)'], format_version = 2) as"
        " select id, note, updated_at at time zone 'UTC' as updated_at, empty, filled, _op, _hash, _extracted_at,"
        " _batch from bronze.plain"
    )
    engines.source(
        "alter table works.plain alter updated_at type timestamptz using updated_at at time zone 'UTC'"
    )
    engines.lake("drop table bronze.plain")
    engines.lake("alter table bronze.plain_old rename to bronze.plain")
    before = engines.lake("select id, _hash, _batch, updated_at from bronze.plain order by 1, 2")
    # Set the state that a run leaves if it is killed while it copies the column.
    engines.lake("alter table bronze.plain add column _moving timestamp(6) with time zone")
    engines.lake("update bronze.plain set _moving = updated_at where id = 1")
    batch, _ = project.run("plain")
    assert (
        engines.lake(
            f"select id, _hash, _batch, _changed_at from bronze.plain where _batch <> {batch} order by 1, 2"
        )
        == before
    )
    assert (
        "partitioning = ARRAY['month(_changed_at)']" in engines.lake("show create table bronze.plain")[0][0]
    )
    assert (30, "new") in current(engines, "plain")


def test_a_table_may_be_named_like_another_with_a_suffix(
    engines: Engines, project: BronzeProject, tmp_path: Path
) -> None:
    """A comparison of the table `lead` does not overwrite the findings of the table `lead_source`."""
    tables = {name: ("memo", "text", "", "") for name in ("lead", "lead_source")}
    for table in tables:
        engines.source(f"create table works.{table} (id integer, note text)")
        engines.source(f"grant select on works.{table} to source_reader")
        engines.source(f"insert into works.{table} values (1, '{table}')")
    leads = bronze_project(engines, tmp_path, write_models(tables))
    for table in reversed(tables):
        leads.run(table)
    for table in tables:
        assert engines.lake(f"select id, note, _finding from reconciled.{table}") == [(1, table, "unmoved")]
        assert engines.lake(f"select id, note from bronze.{table}") == [(1, table)]
