"""The shop writes only to empty databases, and to databases whose tables have the shop's marker, a comment."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest

from sample.shop import MARKER, TABLES, sql
from stack.environment import POSTGRES_BIN
from support.postgres import Query, Server, query
from tests.sample.cli import ROOT, sample

WRITERS = [
    ["schema"],
    ["generate", "--orders", 5],
    ["generate", "--orders", 5, "--replace"],
    ["live"],
    ["live", "--deletes"],
    ["trade", "--every", 0.1],
]


@pytest.fixture
def foreign(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Query]:
    """A database `crm` that is not the shop's. SOURCE_URL contains its address with a password.

    The value is a function that runs a statement in this database and returns its rows.
    """
    with closing(psycopg2.connect(server.url())) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("create database crm owner shop")
        url = server.url("shop", "crm")
        monkeypatch.setenv("SOURCE_URL", url.replace("shop@", "shop:secret@"))
        yield lambda statement, parameters=None: query(url, statement, parameters)
        cursor.execute("drop database crm with (force)")


def content(database: Query) -> str:
    """Return everything that users have created in the database, as JSON: columns, rows, triggers and schemas."""
    [(objects,)] = database(
        "select json_build_object('relations', (select json_agg(a::text order by a::text) from ("
        "select attrelid::regclass, attname, atttypid::regtype, xmin from pg_attribute"
        " where attrelid >= 16384 and attnum > 0"
        " and attrelid not in (select oid from pg_class where relkind in ('t', 'i'))) as a),"
        " 'triggers', (select json_agg(tgname order by tgname) from pg_trigger),"
        " 'schemas', (select json_agg(nspname order by nspname) from pg_namespace where nspname !~ '^pg_'))"
    )
    tables = database("select oid::regclass::text from pg_class where oid >= 16384 and relkind in ('r', 'v')")
    rows = {name: database(f"select t::text from {name} as t order by 1") for (name,) in sorted(tables)}
    return json.dumps([objects, rows])


FOREIGN = {
    "tables of the same names": "create schema sales;"
    " create table sales.orders (order_id integer, updated_at timestamptz);"
    " insert into sales.orders values (1, now())",
    "views of the same names": "create schema sales; create schema northwind;"
    " create table northwind.orders (order_id integer);"
    " create view sales.orders as select * from northwind.orders",
    "another table in the schema": "create schema sales; create table sales.invoices (number integer)",
    "another schema": "create schema northwind; create table northwind.orders (order_id integer)",
}


@pytest.mark.parametrize("made", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("command", WRITERS, ids=lambda words: " ".join(map(str, words)))
def test_nothing_is_written_to_a_database_of_somebody_else(
    foreign: Query, made: str, command: list[object]
) -> None:
    foreign(made)
    before = content(foreign)
    result = sample(*command)
    assert result.exit_code == 1
    assert 'The database "crm" is not the sample shop' in result.output
    assert "Nothing was changed" in result.output
    assert "SOURCE_URL" in result.output
    assert "secret" not in result.output
    assert content(foreign) == before


def test_the_schema_file_itself_refuses(foreign: Query) -> None:
    foreign(FOREIGN["tables of the same names"])
    with pytest.raises(psycopg2.errors.RaiseException, match=r"sales\.orders"):
        foreign(sql("schema.sql"))


def test_one_table_that_was_replaced_by_somebody_stays_unchanged(shop: Query) -> None:
    assert sample("generate", "--orders", 5).exit_code == 0
    shop(
        "drop table sales.sellers; create table sales.sellers (name text); insert into sales.sellers values ('me')"
    )
    for command in WRITERS:
        result = sample(*command)
        assert result.exit_code == 1, command
        assert "is not the sample shop" in result.output
    assert shop("select name from sales.sellers") == [("me",)]


def test_an_empty_database_becomes_the_shop_and_every_table_is_marked(foreign: Query) -> None:
    foreign("create schema sales")
    assert sample("generate", "--orders", 5).exit_code == 0
    assert sample("live", "--orders", 1).exit_code == 0
    assert sample("generate", "--orders", 5, "--replace").exit_code == 0
    marks = dict(
        foreign(
            "select relname, obj_description(oid, 'pg_class') from pg_class where relkind = 'r' and oid >= 16384"
        )
    )
    assert marks == dict.fromkeys(TABLES, MARKER)


def test_tables_that_somebody_added_to_the_shop_stay_and_get_no_trigger(shop: Query) -> None:
    assert sample("schema").exit_code == 0
    shop("create table sales.invoices (number integer, updated_at timestamptz)")
    assert sample("generate", "--orders", 5, "--replace").exit_code == 0
    assert shop("select count(*) from pg_trigger where tgrelid = 'sales.invoices'::regclass") == [(0,)]


def test_the_marker_survives_a_dump(shop: Query, server: Server, foreign: Query) -> None:
    assert sample("schema").exit_code == 0
    shop_url, copy_url = server.url("shop", "shop"), server.url("shop", "crm")
    dump = subprocess.run(
        [POSTGRES_BIN / "pg_dump", "--no-owner", shop_url], capture_output=True, check=True
    ).stdout
    subprocess.run([POSTGRES_BIN / "psql", "--quiet", copy_url], input=dump, capture_output=True, check=True)
    assert foreign("select count(*) from pg_description where description = %s", (MARKER,)) == [
        (len(TABLES),)
    ]


STACK_SQL = ROOT / "stack" / "postgres" / "shop.sql"


@pytest.fixture
def unmarked(shop: Query, server: Server) -> Query:
    """A filled shop without markers, as earlier versions of this project created it."""
    assert sample("generate", "--orders", 5).exit_code == 0
    for table in TABLES:
        shop(f"comment on table sales.{table} is null")
    return shop


def test_a_shop_of_an_earlier_version_is_marked_by_the_start_of_the_stack(
    unmarked: Query, server: Server
) -> None:
    unmarked("alter table sales.orders add column order_channel text")
    assert sample("live", "--orders", 1).exit_code == 1
    for _ in range(2):
        query(server.url(database="shop"), STACK_SQL.read_text())
    assert sample("live", "--orders", 1).exit_code == 0
    assert sample("generate", "--orders", 5, "--replace").exit_code == 0


@pytest.mark.parametrize(
    "change",
    [
        "alter table sales.geolocation drop column geolocation_city",
        "alter table sales.order_reviews rename to reviews",
        "drop trigger touch_update on sales.sellers",
        "drop table sales.sellers; create view sales.sellers as select 1 as seller_id",
        "comment on table sales.orders is 'Ours: keep'",
    ],
)
def test_a_schema_that_differs_from_the_shop_is_never_marked(
    unmarked: Query, server: Server, change: str
) -> None:
    unmarked(change)
    query(server.url(database="shop"), STACK_SQL.read_text())
    assert unmarked("select count(*) from pg_description where description = %s", (MARKER,)) == [(0,)]
    assert sample("generate", "--orders", 5, "--replace").exit_code == 1


def test_the_start_of_the_stack_marks_no_empty_schema(shop: Query, server: Server) -> None:
    """If the schema `sales` has no tables of the shop, the start marks nothing that others create there later."""
    query(server.url(database="shop"), STACK_SQL.read_text())
    shop("create table sales.orders (order_id integer)")
    query(server.url(database="shop"), STACK_SQL.read_text())
    assert sample("generate", "--orders", 5, "--replace").exit_code == 1
    assert shop("select count(*) from sales.orders") == [(0,)]


def test_the_state_of_a_database_is_printed(foreign: Query) -> None:
    def state() -> str:
        return sample("state").output.strip()

    assert state() == "empty"
    assert sample("schema").exit_code == 0
    assert state() == "empty"
    assert sample("generate", "--orders", 5).exit_code == 0
    assert state() == "filled"
    foreign("drop table sales.orders")
    assert state() == "empty"
    foreign("create table sales.orders (order_id integer)")
    assert state() == "foreign"
