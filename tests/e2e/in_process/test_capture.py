"""Capture of tables with every column type, unusual names, and every kind of relation, on the real engines.

Bronze has the values of the source, or the run fails and names the column. Expected values are read from the source
itself: as values, or as text from PostgreSQL's `to_jsonb`.
"""

import json
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from stack.credentials import credentials
from stack.environment import environment
from support.dbt_project import copy_project
from support.dbt_runner import Dbt, run_context

from ..conftest import Stack

SOURCES = Path(__file__).with_name("sources")
KINDS = ["plain_view", "materialized", "partitioned", "parent", "foreign_table"]
MODELS = ["typed", "odd_names", *KINDS, "granted", "policed", "retyped"]
FOREIGN_TABLE = """
    create extension file_fdw with schema kinds;
    create server files foreign data wrapper file_fdw;
    create foreign table kinds.foreign_table (id integer, note text, updated_at timestamptz not null) server files
    options (format 'csv', program $$printf '1,one,2024-01-01 00:00Z\\n2,two,2024-01-02 00:00Z\\n'$$);
    grant select on kinds.foreign_table to source_reader
"""
# The embedded PostgreSQL is built without an XML parser, so it cannot convert text to xml, but it can store xml. This
# cast from bytes to xml does not need the parser.
XML = """
    create cast (bytea as xml) without function;
    update "Typed Things"."all types" set an_xml = convert_to(text, 'UTF8')::xml
    from (values (1, '<a b="1">é &amp; ''c''</a>'), (2, '<?xml version="1.0"?><a/>')) as texts (number, text)
    where id = number;
    drop cast (bytea as xml)
"""
ODD_ROW = [
    "key",
    1,
    2,
    3,
    4,
    "it's",
    "upper",
    "lower",
    "one",
    "null",
    "op",
    "hash",
    "long",
    "2024-01-01 00:00Z",
]
ODD_NAMES = [
    'sélect "a.b" 100%?', "twin", "twin_2", "twin_3", "twin_2_2", "select", "ärger", "ärger_2", "1", "null", "_op_2",
    "_hash_2", "sixty-three bytes long, the most that postgresql takes: äöü!", "updated_at",
]  # fmt: skip
Capture = Callable[..., str]
Columns = dict[str, tuple[Any, ...]]


def as_superuser(stack: Stack, statement: str) -> None:
    """Run a statement on the source as the superuser of the server."""
    address = stack.urls["SOURCE_URL"].rpartition("@")[2]
    password = credentials(stack.settings.home / "secrets.env")["POSTGRES_PASSWORD"]
    connection = psycopg2.connect(f"postgresql://postgres:{password}@{address}")
    with connection, connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()


@pytest.fixture(scope="module")
def capture(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Capture]:
    """Create the source tables, and yield a function that runs bronze models on them and returns dbt's output.

    `kind`: the run's kind. `fails`: whether dbt must fail.
    """
    folder = tmp_path_factory.mktemp("sources")
    copy_project(folder / "project", SOURCES / "models")
    dbt = Dbt(environment(stack.settings), folder / "target", folder / "project")
    stack.query_source((SOURCES / "source.sql").read_text())
    as_superuser(stack, FOREIGN_TABLE)
    as_superuser(stack, XML)

    def run(kind: str = "ranged", *models: str, fails: bool = False) -> str:
        context = run_context(
            stack.draw_batch(),
            kind=kind,
            extract_from="2024-01-01 00:00:00",
            extract_to="2024-02-01 00:00:00",
        )
        success, output = dbt.run("trino", [*models] or MODELS, context)
        assert success is not fails, output
        return output

    yield run
    as_superuser(stack, 'drop schema "Typed Things" cascade; drop schema kinds cascade')
    for model in [*MODELS, "endless_key"]:
        for schema in ("bronze", "reconciled"):
            stack.query_trino(f"drop table if exists {schema}.{model}")


@pytest.fixture(scope="module")
def captured(stack: Stack, capture: Capture) -> str:
    """Capture all tables once and return dbt's output.

    The source role has session settings that change how PostgreSQL writes values as text. Bronze must not depend on
    them.
    """
    stack.query_source(
        'insert into "Typed Things"."Ünïque ""100%"".t?" values ('
        + ", ".join("'" + str(value).replace("'", "''") + "'" for value in ODD_ROW)
        + ")"
    )
    settings = {
        "IntervalStyle": "sql_standard", "bytea_output": "escape", "extra_float_digits": "-15", "lc_monetary": "C",
    }  # fmt: skip
    for name, value in settings.items():
        as_superuser(stack, f"alter role source_reader set {name} = '{value}'")
    try:
        return capture()
    finally:
        for name in settings:
            as_superuser(stack, f"alter role source_reader reset {name}")


# Columns that bronze stores as text. PostgreSQL's `to_jsonb` writes their values as plain text.
TEXT = [
    "a_numeric", "a_wider", "a_rounded", "a_tiny", "a_time", "a_timetz", "an_interval", "a_bit", "a_varbit", "an_inet",
    "a_cidr", "a_macaddr", "a_point", "a_polygon", "an_int4range", "a_tstzrange", "an_int4multirange", "an_xml",
    "a_tsvector", "a_citext", "a_mood", "a_varchar", "a_text", "a_name", "an_oid",
]  # fmt: skip
# Columns that bronze stores as JSON text. `to_jsonb` writes their values as JSON objects or arrays.
NESTED = [
    "a_json",
    "a_jsonb",
    "a_place",
    "some_places",
    "an_hstore",
    "some_texts",
    "some_numbers",
    "some_tags",
]
# Columns that keep their type -> the type in bronze.
TYPED = {
    "id": "integer", "updated_at": "timestamp(6) with time zone", "an_int2": "integer", "an_int8": "bigint",
    "a_double": "double", "a_bool": "boolean", "a_uuid": "uuid", "doubled": "integer",
    "a_decimal": "decimal(12,4)", "a_wide": "decimal(38,10)", "a_share": "decimal(5,4)",
    "a_small_share": "decimal(5,4)", "a_date": "date", "a_timestamp": "timestamp(6)", "a_coarse": "timestamp(6)",
    "a_timestamptz": "timestamp(6) with time zone",
}  # fmt: skip
# Columns that bronze stores as text of another form than `to_jsonb` -> the values, by id.
OTHER = {
    "a_money": ("1234.50", "-0.01", "0.00", None),
    "a_bytea": ("00ff10", "", None, None),
    "a_char": ("ab", "", "", None),
}
# Id -> the values that the column's type in bronze cannot represent. The column is null; `_unkept` has the value.
UNKEPT = {
    1: None,
    2: {"a_decimal": "NaN", "a_wide": "NaN", "a_share": "NaN", "a_date": "infinity", "a_timestamp": "-infinity",
        "a_coarse": "infinity", "a_timestamptz": "-infinity"},
    3: {"a_date": "0044-03-15 BC", "a_timestamp": "12024-01-01 00:00:00",
        "a_timestamptz": "0044-03-15 12:00:00+00 BC"},
    4: None,
}  # fmt: skip


@pytest.fixture(scope="module")
def typed(stack: Stack, captured: str) -> Columns:
    """Return bronze.typed: column -> its values, ordered by id."""
    names = [name for name, *_ in stack.query_trino("show columns from bronze.typed")]
    rows = stack.query_trino("select * from bronze.typed order by id")
    return dict(zip(names, zip(*rows, strict=True), strict=True))


def test_column_has_its_type(stack: Stack, captured: str) -> None:
    types = dict(
        stack.query_trino(
            "select column_name, data_type from information_schema.columns"
            " where table_schema = 'bronze' and table_name = 'typed'"
        )
    )
    expected = TYPED | {"a_real": "real"} | dict.fromkeys([*TEXT, *NESTED, *OTHER, "_unkept"], "varchar")
    assert {name: kind for name, kind in types.items() if name in expected} == expected
    assert len(types) == len(expected) + 5  # and _changed_at, _op, _hash, _extracted_at, _batch


@pytest.mark.parametrize("name", TYPED)
def test_value_of_a_type_of_bronze_is_kept(stack: Stack, typed: Columns, name: str) -> None:
    # Compare values that bronze cannot hold as null on both sides, because Python's client cannot read all of them.
    unkept = [identity for identity, values in UNKEPT.items() if name in (values or {})]
    source = stack.query_source(
        f"select case when id <> all(array{unkept}::integer[]) then {name} end"
        ' from "Typed Things"."all types" order by id'
    )
    # Compare texts, because NaN differs from itself.
    assert [as_text(value) for value in typed[name]] == [as_text(value) for (value,) in source]


def as_text(value: Any) -> str:
    """Return a value as text, the same text for both database clients."""
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC).isoformat()
    return str(value)


@pytest.mark.parametrize("name", TEXT)
def test_other_value_is_text_as_postgresql_writes_it(stack: Stack, typed: Columns, name: str) -> None:
    source = stack.query_source(
        f"""select to_jsonb(t) ->> '{name}' from "Typed Things"."all types" as t order by id"""
    )
    assert {*source} != {(None,)}
    assert typed[name] == tuple(value for (value,) in source)


@pytest.mark.parametrize("name", NESTED)
def test_nested_value_is_json(stack: Stack, typed: Columns, name: str) -> None:
    source = stack.query_source(
        f"""select (to_jsonb(t) -> '{name}')::text from "Typed Things"."all types" as t order by id"""
    )
    # `to_jsonb` writes an SQL null as the JSON `null`.
    assert [json.loads(value or "null") for value in typed[name]] == [
        json.loads(value) for (value,) in source
    ]


@pytest.mark.parametrize("name", OTHER)
def test_money_bytes_and_padded_text_have_a_rule_of_their_own(typed: Columns, name: str) -> None:
    assert typed[name] == OTHER[name]


def test_real_is_kept_to_the_bit(stack: Stack, typed: Columns) -> None:
    source = stack.query_source(
        """select encode(float4send(a_real), 'hex') from "Typed Things"."all types" order by id"""
    )
    assert [value is not None and struct.pack(">f", value).hex() for value in typed["a_real"]] == [
        value or False for (value,) in source
    ]


def test_value_that_its_type_cannot_hold_is_kept_beside_the_column(stack: Stack, captured: str) -> None:
    values = stack.query_trino("select id, _unkept from bronze.typed order by id")
    assert {identity: text and json.loads(text) for identity, text in values} == UNKEPT
    nulls = stack.query_trino(
        "select a_date, a_timestamp, a_timestamptz, a_decimal from bronze.typed where id = 2"
    )
    assert nulls == [(None, None, None, None)]


def test_names_of_any_kind_are_kept_in_lower_case(stack: Stack, captured: str) -> None:
    columns = stack.query_trino("show columns from bronze.odd_names")
    assert [name for name, *_ in columns] == [
        *ODD_NAMES,
        "_unkept",
        "_changed_at",
        "_op",
        "_hash",
        "_extracted_at",
        "_batch",
    ]
    [row] = stack.query_trino("select * from bronze.odd_names")
    assert list(row[:13]) == ODD_ROW[:13]


@pytest.mark.parametrize("kind", KINDS)
def test_relation_of_any_kind_is_a_table(stack: Stack, captured: str, kind: str) -> None:
    assert stack.query_trino(f"select id, note from bronze.{kind} order by id") == [(1, "one"), (2, "two")]


def test_only_what_is_granted_and_wanted_is_taken(stack: Stack, captured: str) -> None:
    assert "kinds.granted: the reader may not select secret" in captured
    hashes = stack.query_source(
        "select encode(sha256(convert_to(x, 'UTF8')), 'hex') from unnest(array['a@example.org', '1990-01-31']) as x"
    )
    [first, second] = stack.query_trino("select * from bronze.granted order by id")
    assert list(first[:3]) == [1, *(text for (text,) in hashes)]
    assert list(second[:3]) == [2, None, None]
    names = [name for name, *_ in stack.query_trino("show columns from bronze.granted")]
    assert names[:4] == ["id", "e-mail", "born", "updated_at"]


def test_what_was_captured_is_found_again(stack: Stack, captured: str, capture: Capture) -> None:
    counts = " union all ".join(f"select '{model}', count(*) from bronze.{model}" for model in MODELS)
    before = sorted(stack.query_trino(counts))
    capture()
    output = capture("reconcile")
    assert sorted(stack.query_trino(counts)) == before, output


def test_hidden_rows_are_not_deleted_and_removed_rows_are(
    stack: Stack, captured: str, capture: Capture
) -> None:
    stack.query_source(
        "alter table kinds.policed enable row level security;"
        " create policy own_rows on kinds.policed using (id = 1);"
        ' delete from "Typed Things"."all types" where id = 4'
    )
    output = capture("reconcile", "policed", "typed")
    assert (
        "kinds.policed: row policies may hide rows from the reader (own_rows). No row is taken for deleted"
        in output
    )
    assert stack.query_trino("select id, _op from bronze.policed order by id") == [
        (1, "upsert"),
        (2, "upsert"),
    ]
    assert stack.query_trino("select id from bronze.typed where _op = 'delete'") == [(4,)]


def test_type_that_widens_goes_on_and_another_stops_its_table_only(
    stack: Stack, captured: str, capture: Capture
) -> None:
    stack.query_source(
        "alter table kinds.retyped alter id type bigint, alter amount type numeric(9, 2), alter code type text;"
        " insert into kinds.retyped values (3000000000, 1234567.89, 'longer than 5', 'x', '2024-01-02 00:00Z')"
    )
    capture("ranged", "retyped")
    rows = stack.query_trino("select id, cast(amount as varchar), code from bronze.retyped order by id")
    assert rows == [(1, "1.25", "abc"), (3000000000, "1234567.89", "longer than 5")]
    stack.query_source(
        "delete from kinds.retyped where day = 'x';"
        " alter table kinds.retyped alter day type date using day::date, drop column code;"
        " update kinds.retyped set updated_at = '2024-01-03 00:00Z';"
        " update kinds.parent set note = 'new', updated_at = '2024-01-03 00:00Z' where id = 1"
    )
    output = capture("ranged", "retyped", "parent", fails=True)
    assert "kinds.retyped.day is date at the source now, and varchar in" in output
    assert stack.query_trino("select max(updated_at) from bronze.retyped")[0][0].day == 2
    assert stack.query_trino("select count(*) from bronze.parent where note = 'new'") == [(1,)]
    stack.query_source("alter table kinds.retyped drop column day")
    capture("ranged", "retyped")
    [row] = stack.query_trino(
        "select id, code, day from bronze.retyped where updated_at > timestamp '2024-01-02 12:00 UTC'"
    )
    assert row == (1, None, None)


def test_key_that_its_type_cannot_hold_is_named(stack: Stack, capture: Capture) -> None:
    capture("ranged", "endless_key")
    stack.query_source("insert into kinds.endless_key values ('infinity', '2024-01-02 00:00Z')")
    output = capture("ranged", "endless_key", fails=True)
    assert "The key column kinds.endless_key.day, which bronze has as date, holds infinity" in output
    assert stack.query_trino("select count(*) from bronze.endless_key") == [(1,)]
