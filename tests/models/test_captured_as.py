"""Changes of a table's key, of its cursor, and of how its values are written as text, on the real engines.

After such a change, runs over windows fail, because new versions would not match older ones. A reconciliation compares
the whole table and brings bronze to the new state.

The tests depend on one another, in the order of this file.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.engines import BronzeProject, Engines, bronze_project

SOURCE = "loaded_at_field: changed"
MODEL = "natural_key: [id]"
# A table whose changed columns are used by no model at first.
UNNAMED = "unnamed"
# Table -> its declarations before the change, and after it. Each is an entry of the source and one of the model's meta.
TABLES = {
    "keyed": ((SOURCE, "natural_key: [value]"), (SOURCE, "natural_key: [value]")),
    **{
        name: ((SOURCE, MODEL), (SOURCE, MODEL))
        for name in ("lasting", "zoned", "placed", "alike", "billed", UNNAMED)
    },
    "hashed": ((SOURCE, MODEL), (SOURCE, f"{MODEL}, hash: [value]")),
    "rekeyed": ((SOURCE, MODEL), (SOURCE, "natural_key: [id, value]")),
    "clocked": ((SOURCE, MODEL), (f"{SOURCE}, meta: {{cursor_zone: Europe/Berlin}}", MODEL)),
    "older": ((SOURCE, MODEL), (f"{SOURCE}, meta: {{cursor_zone: Europe/Berlin}}", MODEL)),
    "renamed": ((SOURCE, MODEL), ("loaded_at_field: later", MODEL)),
    "numbered": ((SOURCE, MODEL), ("loaded_at_field: n", MODEL)),
}
# Tables whose runs over windows fail after the change -> the message.
STOPPED = {
    "keyed": 'moves.keyed.value was captured as text, and is numeric now',
    "lasting": "moves.lasting.value was captured as text, and is interval now",
    "zoned": "moves.zoned.value was captured as time, and is timetz now",
    "placed": "moves.placed.value was captured as numeric, and is numeric with 3 places now",
    "hashed": "moves.hashed.value was captured as text, and is hash now",
    "rekeyed": "the natural_key was captured as id, and is id, value now",
    "clocked": "the cursor was captured as changed timestamp in UTC, and is changed timestamp in Europe/Berlin now",
    "renamed": "the cursor was captured as changed timestamp in UTC, and is later timestamp in UTC now",
    "numbered": "the cursor was captured as changed timestamp in UTC, and is n number now",
}  # fmt: skip


def models(number: int, unnamed: Iterable[str] = (UNNAMED,)) -> dict[str, str]:
    """Return the files of the models: name -> text.

    number: 0 for the declarations before the change, 1 for those after it. unnamed: tables whose column `value` no
    other model uses.
    """
    readers = [f"select value from {{{{ ref('{table}') }}}}" for table in TABLES if table not in unnamed]
    files = {"reader.sql": "{{ config(materialized='ephemeral') }}\n" + "\nunion all\n".join(readers)}
    for table, declarations in TABLES.items():
        source, model = declarations[number]
        files[f"{table}.sql"] = f"select * from {{{{ source('{table}s', '{table}') }}}}"
        files[f"{table}.yml"] = (
            f"sources:\n  - name: {table}s\n    schema: moves\n    description: Source.\n"
            f"    tables:\n      - {{name: {table}, {source}}}\n"
            f"models:\n  - name: {table}\n    description: Changelog.\n    config: {{meta: {{{model}}}}}\n"
        )
    return files


@pytest.fixture(scope="module")
def before(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BronzeProject]:
    """Create the source tables, and return the project after it has captured two rows of each table."""
    engines.source("create schema moves; grant usage on schema moves to source_reader")
    types = {"zoned": "time", "placed": "numeric"}
    values = {"lasting": "1 hour", "zoned": "10:00", "placed": "1.5", "billed": "2024-02-01"}
    for table in TABLES:
        engines.source(
            f"create table moves.{table} (id integer, value {types.get(table, 'text')},"
            " changed timestamp default '2024-06-01 12:00', later timestamp default '2024-05-01', n bigint default 1);"
            f" grant select on moves.{table} to source_reader"
        )
        for id_, value in ((1, values.get(table, "007")), (2, values.get(table, "008"))):
            engines.source(f"insert into moves.{table} values (%s, %s)", (id_, value))
    engines.source("alter table moves.unnamed add day text default '2024-02-01'")
    engines.source(
        "create type moves.mood as enum ('007', '008'); create domain moves.label as varchar(9);"
        " alter table moves.alike add a varchar(5) default 'a', add b text default '007', add c text default 'c',"
        " add d char(5) default 'd', add e numeric(50,3) default 1.5, add f varchar(5)[] default '{f}'"
    )
    project = bronze_project(engines, tmp_path_factory.mktemp("before"), models(0))
    project.run(*TABLES)
    yield project
    engines.source("drop schema moves cascade")


@pytest.fixture(scope="module")
def after(engines: Engines, before: BronzeProject, tmp_path_factory: pytest.TempPathFactory) -> BronzeProject:
    """Change types and the first row of each table at the source; return the project with the new declarations."""
    engines.source(
        """
        alter table moves.keyed alter value type numeric using value::numeric;
        alter table moves.lasting alter value type interval using value::interval;
        alter table moves.zoned alter value type timetz;
        alter table moves.placed alter value type numeric(50,3);
        alter table moves.unnamed alter value type numeric using value::numeric;
        alter table moves.unnamed alter day drop default, alter day type date using day::date;
        alter table moves.alike alter b drop default, alter c drop default;
        alter table moves.alike
            alter a type text, alter b type moves.mood using b::moves.mood, alter c type moves.label, alter d type text,
            alter e type numeric(60,3), alter f type text[];
        """
    )
    for table in TABLES:
        # Change the row an hour later by the local clock. Read as time in Berlin, this is an hour earlier than the
        # first version, which was read as UTC.
        engines.source(
            f"update moves.{table} set n = 5, changed = '2024-06-01 13:00', later = '2024-06-01 13:00' where id = 1"
        )
    # Earlier versions of this project did not record the cursor in the column's comment.
    engines.lake("comment on column bronze.older._changed_at is 'When the source changed the row.'")
    return bronze_project(engines, tmp_path_factory.mktemp("after"), models(1))


def current(engines: Engines, table: str, columns: str = "value") -> list[tuple[Any, ...]]:
    """Return the current rows according to bronze: the latest version of each key, if it is no delete."""
    key = re.sub(r".*\[(.*)\]", r"\1", TABLES[table][1][1].partition(", hash")[0])
    return engines.lake(
        f"with numbered as (select *, row_number() over (partition by {key}"
        f" order by _changed_at desc, _batch desc, _op, _hash desc) as place from bronze.{table})"
        f" select id, n, {columns} from numbered where place = 1 and _op = 'upsert' order by 1"
    )


def source_rows(engines: Engines, table: str, value: str = "value::text") -> list[tuple[Any, ...]]:
    return engines.source(f"select id, n, {value} from moves.{table} order by 1")


def shows_source(engines: Engines, table: str) -> bool:
    """Return whether the current rows according to bronze equal the rows of the source."""
    value = "encode(sha256(convert_to(value, 'UTF8')), 'hex')" if table == "hashed" else "value::text"
    return current(engines, table) == source_rows(engines, table, value)


def test_windows_of_a_changed_table_stop_and_others_go_on(engines: Engines, after: BronzeProject) -> None:
    going_on = ("alike", "older")
    written = {table: engines.lake(f"select max(_batch) from bronze.{table}") for table in STOPPED}
    batch, output = after.run(*STOPPED, *going_on, fails=True)
    for table, message in STOPPED.items():
        assert f'"lake"."bronze"."{table}": {message}: older versions would not match newer ones' in output
        assert engines.lake(f"select max(_batch) from bronze.{table}") == written[table]
    assert {*re.findall(r'"bronze"."(\w+)": .* with allow_deletes, because', output)} == {"keyed", "rekeyed"}
    assert {*re.findall(r'"bronze"."(\w+)": .* it: drop table', output)} == {"numbered"}
    for table in going_on:
        assert engines.lake(f"select max(_batch) from bronze.{table}") == [(batch,)]
    assert engines.lake(
        "select comment from information_schema.columns where table_schema = 'bronze' and table_name = 'older'"
        " and column_name = '_changed_at' and comment like '% Captured as: changed timestamp in Europe/Berlin.'"
    )
    assert current(engines, "alike", "a, b, c, d, e, f") == engines.source(
        "select id, n, a, b::text, c, d, e::text, to_json(f)::text from moves.alike order by 1"
    )


def test_a_comparison_takes_the_change_over(engines: Engines, after: BronzeProject) -> None:
    tables = [table for table in STOPPED if table != "numbered"]
    after.run(*tables, kind="reconcile")
    for table in tables:
        assert shows_source(engines, table), table
        engines.source(
            f"update moves.{table} set n = 6, changed = '2024-06-01 15:00', later = '2024-06-01 15:00' where id = 2"
        )
    after.run(*tables)
    for table in tables:
        assert shows_source(engines, table), table


def test_a_column_that_no_model_names_stops_no_table(
    engines: Engines, after: BronzeProject, tmp_path: Path
) -> None:
    engines.source("update moves.unnamed set value = 7.50, day = '2024-02-29' where id = 1")
    _, output = after.run(UNNAMED)
    assert "moves.unnamed.day: the type at the source changed" in " ".join(output.split())
    first, second = '{"day": "2024-02-29"}', '{"day": "2024-02-01"}'
    assert engines.lake("select id, value, day, _unkept from bronze.unnamed order by id, _batch") == [
        (1, "007", "2024-02-01", None),
        (1, "7.50", None, first),
        (2, "008", "2024-02-01", None),
        (2, "8", None, second),
    ]
    named = bronze_project(engines, tmp_path, models(1, unnamed=()))
    _, output = named.run(UNNAMED, fails=True)
    assert "moves.unnamed.value was captured as text, and is numeric now" in output
    named.run(UNNAMED, kind="reconcile")
    assert current(engines, UNNAMED, "value, _unkept") == [
        (1, 5, "7.50", first),
        (2, 1, "8", second),
    ]
    named.run(UNNAMED)


def test_a_number_needs_a_new_table(engines: Engines, after: BronzeProject) -> None:
    """Numbers as a cursor become times near 1970, so new versions would look older than those of the old cursor."""
    _, output = after.run("numbered", kind="reconcile", fails=True)
    assert STOPPED["numbered"] in output
    statement = re.search(r"drop table \S+\"", output)
    assert statement
    engines.lake(statement[0])
    after.run("numbered", kind="reconcile")
    engines.source("update moves.numbered set n = 6 where id = 2")
    after.run("numbered")
    assert shows_source(engines, "numbered")


def test_text_becomes_a_date_by_the_statements_of_the_message(engines: Engines, after: BronzeProject) -> None:
    after.run("billed")
    engines.source("alter table moves.billed alter value type date using value::date")
    _, output = after.run("billed", fails=True)
    statements = re.search(
        r"captured again: (alter table .*; alter table .*; update .*)\. Then rebuild silver", output
    )
    assert statements
    for statement in statements[1].replace("…", "value_before").split("; "):
        engines.lake(statement)
    engines.source("update moves.billed set value = '2024-02-29', changed = '2024-06-02' where id = 1")
    batch, _ = after.run("billed")
    assert current(engines, "billed") == source_rows(engines, "billed", "value")
    assert engines.lake(f"select id from bronze.billed where _batch = {batch}") == [(1,)]
    after.run("billed", kind="reconcile")
    assert current(engines, "billed") == source_rows(engines, "billed", "value")
