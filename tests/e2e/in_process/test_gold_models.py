"""Gold models that are plain selects, from dbt to PostgreSQL, on the real engines: every type and any column name."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg2
import psycopg2.extras
import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from medallion.engines.leftovers import tag
from medallion.engines.postgres import quote, render_sql
from medallion.project.contracts import GoldTable, contract_faults, normal_type
from medallion.publish.shapes import PublishedTable, shape_of
from medallion.settings import SQL
from medallion.tasks.stage import STATEMENTS, staging_statement
from stack.environment import environment
from support.dbt_project import copy_project
from support.dbt_runner import Dbt, run_context
from support.task_instance import Task

from ..conftest import Stack

MODEL = "order"  # a keyword of every engine
# Column -> its type in the contract, its expression in the model, and its value in PostgreSQL.
COLUMNS: dict[str, tuple[str, str, Any]] = {
    "select": ("varchar", "'k1'", "k1"),
    "a b": ("varchar(9)", "'nine char'", "nine char"),
    "it's": ("char(3)", "'abc'", "abc"),
    'q"q': ("boolean", "true", True),
    "100%": ("smallint", "cast(-7 as smallint)", -7),
    "%s": ("integer", "42", 42),
    "é": ("bigint", "bigint '9007199254740993'", 9007199254740993),
    "x }}": ("real", "real '0.1'", 0.1),
    "y %}": ("double", "0.1e0", 0.1),
    "semi;colon": (
        "decimal(38, 10)",
        "decimal '1234567890123456789012345678.0123456789'",
        Decimal("1234567890123456789012345678.0123456789"),
    ),
    "back\\slash": ("date", "date '0001-01-01'", date(1, 1, 1)),
    "t0": ("time(0)", "time '23:59:59'", time(23, 59, 59)),
    "t6": ("time(6)", "time '23:59:59.123456'", time(23, 59, 59, 123456)),
    "ts0": ("timestamp(0)", "timestamp '2018-01-01 00:00:01'", datetime(2018, 1, 1, 0, 0, 1)),
    "ts": ("timestamp", "timestamp '2018-01-01 00:00:01.123'", datetime(2018, 1, 1, 0, 0, 1, 123000)),
    "ts6": ("timestamp(6)", "timestamp '2018-01-01 00:00:01.123456'", datetime(2018, 1, 1, 0, 0, 1, 123456)),
    "tz": (
        "timestamp(6) with time zone",
        "timestamp '2018-01-01 00:00:01.123456 Europe/Berlin'",
        datetime(2017, 12, 31, 23, 0, 1, 123456, UTC),
    ),
    "user": (
        "uuid",
        "uuid '12151fd2-7586-11e9-8f9e-2a86e4085a59'",
        UUID("12151fd2-7586-11e9-8f9e-2a86e4085a59"),
    ),
    "bytes": ("varbinary", "x'00ff'", b"\x00\xff"),
    "json": ("json", """json '{"b": [1, 2.5], "a": null}'""", {"a": None, "b": [1, 2.5]}),
}
KEY = [name for name in COLUMNS if name != "json"]
# Column -> an expression whose value the column's type cannot hold unchanged.
UNFIT = {
    "a b": "'ten chars!'",
    "100%": "40000",
    "ts0": "timestamp '2018-01-01 00:00:01.5'",
    "json": "'{'",
}
# Column -> an expression of another type than the contract's. The error must name all of these columns at once.
OTHER_TYPES = {
    "semi;colon": "decimal '0.01234567891'",
    "x }}": "0.1e0",
    "back\\slash": "timestamp '2018-01-01 00:00:00'",
}

# Engine -> the folder of the models that it builds.
FOLDERS = {"trino": "gold", "spark": "silver/marts"}

Run = Callable[..., str]


@pytest.fixture
def run(stack: Stack, tmp_path: Path) -> Iterator[Run]:
    """Yield a function that writes a model, runs it with a new batch, and returns dbt's output.

    `fails`: whether dbt must fail. `engine`: `trino` builds the model as a gold table, `spark` as a silver mart.
    """
    project = tmp_path / "project"
    copy_project(project, None)

    def run(
        sql: str, types: dict[str, str], key: list[str], fails: bool = False, engine: str = "trino"
    ) -> str:
        folder = project / "models" / FOLDERS[engine]
        folder.mkdir(parents=True, exist_ok=True)
        columns = [
            {"name": name, "data_type": kind, "description": f"It's {name}"} for name, kind in types.items()
        ]
        model = {"name": MODEL, "description": "Any table.", "columns": columns}
        model["config"] = {"unique_key": key, "contract": {"enforced": True}}
        (folder / f"{MODEL}.sql").write_text(sql)
        (folder / f"{MODEL}.yml").write_text(json.dumps({"models": [model]}))
        success, output = Dbt(environment(stack.settings), tmp_path / "target", project).run(
            engine, [MODEL], run_context(stack.draw_batch())
        )
        assert success != fails, output
        return output

    yield run
    for schema in ("gold", "silver"):
        stack.query_trino(f'drop table if exists {schema}."{MODEL}"')


def rows(stack: Stack, schema: str = "gold") -> list[tuple[Any, ...]]:
    """Return the rows of the model's table in the lake, without `_batch`."""
    return [tuple(row[:-1]) for row in stack.query_trino(f'select * from {schema}."{MODEL}" order by 1, 2')]


def snapshot(stack: Stack) -> int:
    """Return the id of the table's current snapshot."""
    [(current,)] = stack.query_trino(
        f'select snapshot_id from gold."{MODEL}$snapshots" order by committed_at desc limit 1'
    )
    return int(current)


VISITS = {"site": "varchar", "visits": "bigint"}


def visits(*values: str) -> str:
    """Return the SQL of a model that counts visits by site. Each value is the SQL of a visit: its site and day."""
    return f"select site, count(*) as visits from (values {', '.join(values)}) as visits (site, day) group by site"


def test_plain_select_is_merged_by_its_key(stack: Stack, run: Run) -> None:
    run(visits("('a', 1)", "('a', 2)", "('b', 1)"), VISITS, ["site"])
    assert rows(stack) == [("a", 2), ("b", 1)]
    before = snapshot(stack)
    batches = stack.query_trino(f'select site, _batch from gold."{MODEL}" order by 1')
    run(visits("('a', 2)", "('a', 1)", "('c', 3)"), VISITS, ["site"])
    assert rows(stack) == [("a", 2), ("c", 1)]
    after = stack.query_trino(f'select site, _batch from gold."{MODEL}" order by 1')
    assert after[0] == batches[0] and after[1][1] > batches[0][1]

    with_null = visits("(null, 1)", "(null, 2)", "('a', 1)")
    assert "gold.order: 1 row(s) with a null in the key column site" in run(
        with_null, VISITS, ["site"], fails=True
    )
    rounded = visits("('a', 1)").replace("count(*)", "1.5e0")
    assert "visits is double, and its data_type bigint" in run(rounded, VISITS, ["site"], fails=True)
    twice = visits("('a', 1)", "('a', 2)").replace("group by site", "group by site, day")
    assert "gold.order: 2 rows have the same key (site)" in run(twice, VISITS, ["site"], fails=True)
    assert rows(stack) == [("a", 2), ("c", 1)]

    # The model's columns change. All rows get the new columns; the earlier snapshot can still be read.
    changed = visits("('a', 2)", "('a', 1)", "('c', 3)").replace(
        "site, count(*)", "site, max(day) as day, count(*)"
    )
    changed = changed.replace("count(*)", "cast(count(*) as varchar)")
    run(changed, VISITS | {"visits": "varchar", "day": "integer"}, ["site"])
    assert rows(stack) == [("a", "2", 2), ("c", "1", 3)]
    assert stack.query_trino(f'select count(*) from gold."{MODEL}" for version as of {before}') == [(2,)]
    run("select distinct 'a' as site", {"site": "varchar"}, ["site"])
    run("select distinct 'b' as site", {"site": "varchar"}, ["site"])
    assert rows(stack) == [("b",)]
    [(description,)] = stack.query_trino(
        "select comment from information_schema.columns"
        f" where table_schema = 'gold' and table_name = '{MODEL}' and column_name = '_batch'"
    )
    assert description == "Batch of the run that last changed this row."


@pytest.mark.parametrize(
    ("engine", "schema", "text"), [("trino", "gold", "varchar"), ("spark", "silver", "string")]
)
def test_changed_key_replaces_the_table(stack: Stack, run: Run, engine: str, schema: str, text: str) -> None:
    def run_days(*values: str, key: tuple[str, ...]) -> list[tuple[Any, ...]]:
        selects = (f"select 'a' as site, cast({value} as integer) as day" for value in values)
        run(" union all ".join(selects), {"site": text, "day": "int"}, list(key), engine=engine)
        return rows(stack, schema)

    assert run_days("null", key=("site",)) == [("a", None)]
    # A merge by the new key would leave the row whose `day` is null, because null equals no value.
    assert run_days("1", "2", key=("site", "day")) == [("a", 1), ("a", 2)]
    # Both rows of the table have the same value of the new key, so that a merge would fail.
    assert run_days("3", key=("site",)) == [("a", 3)]
    batches = stack.query_trino(f'select _batch from {schema}."{MODEL}"')
    # Earlier versions of this project did not record the key in the column's comment.
    stack.query_trino(f"comment on column {schema}.\"{MODEL}\".site is 'It is the site'")
    assert run_days("3", key=("site",)) == [("a", 3)]
    assert stack.query_trino(f'select _batch from {schema}."{MODEL}"') == batches
    assert run_days("4", key=("site", "day")) == [("a", 4)]
    comments = stack.query_trino(
        "select comment from information_schema.columns"
        f" where table_schema = '{schema}' and table_name = '{MODEL}' order by ordinal_position"
    )
    assert [comment for (comment,) in comments] == [
        "It's site [unique_key]", "It's day [unique_key]", "Batch of the run that last changed this row."
    ]  # fmt: skip


def stage(stack: Stack, table: GoldTable, base_snapshots: dict[str, int], current: int | None) -> None:
    """Stage the table with the DAG's statements.

    `current`: the snapshot to publish; None if the table must become empty, as in a roll-back to before it existed.
    """
    audited = {
        "staging": "1_1", "snapshots": {f"gold.{MODEL}": current} if current else {}, "columns": {},
        "base_snapshots": base_snapshots, "base_batch": 0,
    }  # fmt: skip
    ti = Task("any", f"stage.{MODEL}", xcoms={"audit": audited})
    # The linter wants Jinja to escape values for HTML, but these templates are SQL.
    templates = Environment(loader=FileSystemLoader(SQL), undefined=StrictUndefined)  # noqa: S701
    for file in STATEMENTS:
        stack.query_trino(
            templates.from_string(staging_statement(file, table, "audit")).render(ti=ti, tag=tag)
        )


@contextmanager
def postgres(stack: Stack) -> Iterator[Any]:
    """Yield a cursor in a transaction on the gold database, as the role `publisher`."""
    secret = environment(stack.settings)["PUBLISHER_PASSWORD"]
    port = stack.settings.postgres_port
    with (
        closing(psycopg2.connect(f"postgresql://publisher:{secret}@127.0.0.1:{port}/bi")) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("set time zone 'UTC'")
        psycopg2.extras.register_uuid(conn_or_curs=cursor)
        yield cursor


def apply(table: GoldTable, is_new: bool) -> str:
    """Return the SQL that applies the staged rows to the table in PostgreSQL."""
    published = (
        None if is_new else PublishedTable(table.columns, {*KEY}, is_own=True, comment="", comments={})
    )
    return render_sql(
        "publish/apply_staged.sql",
        table=table, staging="1_1", is_new=is_new, is_whole=is_new, shape=shape_of(table, published, {}),
    ).decode()  # fmt: skip


def read(cursor: Any) -> list[tuple[Any, ...]]:
    """Return the rows of the table in PostgreSQL."""
    cursor.execute(f"select * from gold.{quote(MODEL)}")
    return [
        tuple(bytes(value) if isinstance(value, memoryview) else value for value in row)
        for row in cursor.fetchall()
    ]


def test_every_type_and_any_name_reaches_postgres(stack: Stack, run: Run) -> None:
    types = {name: kind for name, (kind, _, _) in COLUMNS.items()}
    expressions = {name: expression for name, (_, expression, _) in COLUMNS.items()}
    table = GoldTable(MODEL, KEY, {name: normal_type(kind) for name, kind in types.items()})
    described = {name: {"data_type": kind} for name, kind in types.items()}
    assert list(contract_faults({"name": MODEL, "config": {"unique_key": KEY}, "columns": described})) == []

    def select(**changed: str) -> str:
        return "select " + ", ".join(
            f"{expression} as {quote(name)}" for name, expression in (expressions | changed).items()
        )

    # Stage for a roll-back to before the model existed: no run has built its table yet.
    stage(stack, table, {}, None)
    assert stack.query_trino(f'select * from postgres_gold.staging."{MODEL}_1_1"') == []
    run(select(), types, KEY)
    first = snapshot(stack)
    stage(stack, table, {}, first)
    run(select(select="'k2'"), types, KEY)
    with postgres(stack) as cursor:
        for statement in (f"drop table if exists gold.{quote(MODEL)}", apply(table, is_new=True)):
            cursor.execute(statement)
        assert read(cursor) == [tuple(value for _, _, value in COLUMNS.values())]
    # Stage only after the transaction, because staging drops the staging table that the transaction has locked.
    stage(stack, table, {f"gold.{MODEL}": first}, snapshot(stack))
    with postgres(stack) as cursor:
        cursor.execute(apply(table, is_new=False))
        assert read(cursor) == [("k2", *[value for _, _, value in COLUMNS.values()][1:])]
        cursor.execute(f"drop table gold.{quote(MODEL)}, staging.{quote(f'{MODEL}_1_1')}")

    for name, expression in UNFIT.items():
        assert f"each value of the column {name}" in run(select(**{name: expression}), types, KEY, fails=True)
    output = run(select(**OTHER_TYPES), types, KEY, fails=True)
    assert all(f"{name} is " in output for name in OTHER_TYPES)
