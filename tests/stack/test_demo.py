"""`make run` and `make up` on each kind of source, with a real PostgreSQL and no other engine."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from pydantic import SecretStr

from sample.shop import TABLES
from stack import demo, pipeline
from stack.errors import StackError
from stack.settings import Settings
from support.postgres import Query, Server, query
from tests.sample.cli import sample

SHOP_TABLES = [("sales", name, "updated_at") for name in TABLES]
OWN_TABLES = [("Own Data", "Order", "changed at"), ("ledger", "entries", "at")]
OWN_SQL = """
    create schema "Own Data"; create schema ledger;
    create table "Own Data"."Order" (id integer, "changed at" timestamp);
    create table ledger.entries (id integer, at timestamptz);
    insert into "Own Data"."Order" values (1, '2020-02-03 04:05:06'), (2, '-infinity'), (3, '3000-01-01');
    insert into ledger.entries values (1, '2021-01-01 00:00:00+00')
"""
PUBLISHED = ("run", 1, datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC))


@pytest.fixture
def database(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Query]:
    """Create an empty database, which is the source and gold; the fixture is a function that runs a statement there."""
    with closing(psycopg2.connect(postgres.url())) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute("create database crm")
        url = postgres.url(database="crm")
        monkeypatch.setattr(
            demo, "public_environment", lambda settings: {"SOURCE_URL": url, "GOLD_URL": url, **LOGIN}
        )
        monkeypatch.setattr(pipeline, "public_environment", lambda settings: {"GOLD_URL": url})
        monkeypatch.setattr(pipeline, "source_dsn", lambda settings: url)
        monkeypatch.setattr(demo, "environment", lambda settings: {**os.environ, "SOURCE_URL": url})
        monkeypatch.setenv("SOURCE_URL", url)
        yield lambda statement, parameters=None: query(url, statement, parameters)
        cursor.execute("drop database crm with (force)")


LOGIN = dict.fromkeys(("AIRFLOW_URL", "AIRFLOW_USER", "TRINO_URL", "TRINO_USER"), "x")


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[tuple[str, str, str]]], None]:
    """Let the dbt project declare source tables: those of the shop, unless a test declares others."""
    monkeypatch.setattr(pipeline, "DBT", tmp_path / "dbt")
    manifest = tmp_path / "dbt" / "target" / "trino" / "manifest.json"
    manifest.parent.mkdir(parents=True)

    def write(tables: list[tuple[str, str, str]]) -> None:
        sources = {
            f"source.{schema}.{table}": {
                "schema": schema,
                "identifier": table,
                "loaded_at_field": cursor,
                "meta": {},
            }
            for schema, table, cursor in tables
        }
        manifest.write_text(json.dumps({"sources": sources}))

    write(SHOP_TABLES)
    return write


@pytest.fixture
def done(database: Query, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Replace services, the shop and Airflow; returns the list of the calls to them, in order."""
    calls: list[tuple[Any, ...]] = []
    publications: list[tuple[Any, ...] | None] = [None]

    def call(name: str, publish: bool = False) -> Callable[..., None]:
        def note(*arguments: Any) -> None:
            calls.append((name, *(value for value in arguments if not isinstance(value, Settings))))
            if publish:
                publications.append((*PUBLISHED[:1], len(publications), *PUBLISHED[2:]))

        return note

    def fill(settings: Settings, *arguments: str) -> None:
        calls.append(("shop", *arguments))
        assert sample(*arguments).exit_code == 0

    monkeypatch.setattr(demo, "up", call("up"))
    monkeypatch.setattr(demo, "shop", fill)
    monkeypatch.setattr(demo, "run_history", call("history", publish=True))
    monkeypatch.setattr(demo, "trigger", call("trigger", publish=True))
    monkeypatch.setattr(demo, "publication", lambda settings: publications[-1])
    monkeypatch.setattr(demo.supervisor, "start", call("start"))
    monkeypatch.setattr(demo.supervisor, "stop", call("stop"))
    return calls


@pytest.mark.usefixtures("declare")
def test_an_empty_source_gets_a_shop_a_burst_and_a_trader(
    settings: Settings, done: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    demo.run(settings, None, 5)
    assert [name for name, *_ in done] == ["up", "shop", "history", "shop", "trigger", "start"]
    assert done[1] == ("shop", "generate", "--orders", "5")
    assert done[3] == ("shop", "live")
    assert done[-1] == ("start", "shop")


def test_a_source_of_ones_own_is_run_on_and_never_written(
    settings: Settings,
    database: Query,
    declare: Any,
    done: list[tuple[Any, ...]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    declare(OWN_TABLES)
    database(OWN_SQL)
    database(
        "create schema gold; create table gold.revenue as select 1 as month from generate_series(1, 1234)"
    )
    demo.run(settings, Path("/csv"), 5)
    assert done == [("up",), ("history", datetime(2020, 2, 3, 4, 5, 6, tzinfo=UTC)), ("stop", "shop")]
    output = capsys.readouterr().out
    assert "revenue" in output and "1,234" in output
    assert "OLIST is not loaded" in output
    demo.run(settings, None, 5)
    assert done[3:] == [("up",), ("trigger", {}), ("stop", "shop")]


@pytest.mark.parametrize("tables", [SHOP_TABLES, OWN_TABLES], ids=["the shop's", "own"])
@pytest.mark.parametrize("own", ["", "create table notes (id integer)"], ids=["empty", "other tables"])
def test_a_source_without_declared_rows_is_not_filled_unless_the_shop_may_be_there(
    settings: Settings, database: Query, declare: Any, done: list[tuple[Any, ...]], tables: Any, own: str
) -> None:
    declare(tables)
    database(own or "select 1")
    if tables == SHOP_TABLES and not own:
        assert demo.reads_shop(settings)
        return
    with pytest.raises(StackError, match="nothing to run on"):
        demo.run(settings, None, 5)
    assert done == [("up",)]


def test_a_project_without_tables_starts_and_says_how_to_get_some(
    settings: Settings, declare: Any, done: list[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    declare([])
    demo.run(settings, None, 5)
    assert done == [("up",)]
    assert "make tables SCHEMA=" in capsys.readouterr().out


def test_an_empty_database_outside_of_the_stack_is_never_filled(
    settings: Settings, declare: Any, done: list[tuple[Any, ...]]
) -> None:
    declare(SHOP_TABLES)
    outside = settings.model_copy(update={"source_url": SecretStr("postgresql://me:x@db/crm")})
    assert demo.state(outside) == "foreign"
    with pytest.raises(StackError, match="nothing to run on"):
        demo.run(outside, None, 5)
    assert done == [("up",)]


@pytest.mark.usefixtures("declare")
def test_tables_named_like_the_shops_get_no_trader(
    settings: Settings, database: Query, done: list[tuple[Any, ...]]
) -> None:
    database(
        "create schema sales; create table sales.orders (order_id text); insert into sales.orders values ('1')"
    )
    demo.start(settings)
    assert done == [("up",), ("stop", "shop")]
    assert not demo.reads_shop(settings)


@pytest.mark.usefixtures("declare")
def test_the_trader_starts_with_orders_and_only_if_the_setting_says_so(
    settings: Settings, done: list[tuple[Any, ...]]
) -> None:
    demo.start(settings)
    demo.shop(settings, "schema")
    demo.start(settings)
    demo.shop(settings, "generate", "--orders", "5")
    demo.start(settings)
    demo.start(settings.model_copy(update={"shop": "off"}))
    assert [call for call in done if call[0] in ("start", "stop")] == [
        ("stop", "shop"), ("stop", "shop"), ("start", "shop"), ("stop", "shop"),
    ]  # fmt: skip


def test_a_declared_table_that_is_missing_or_unreadable_is_named(
    settings: Settings, database: Query, declare: Any
) -> None:
    declare(OWN_TABLES)
    database(OWN_SQL)
    database("drop table ledger.entries")
    with pytest.raises(StackError, match=r"lacks tables.*ledger\.entries"):
        pipeline.first_change(settings)
    database("create table ledger.entries (id integer)")
    with pytest.raises(StackError, match=r"ledger\.entries.*cursor: at.*(\n.*)source_reader"):
        pipeline.first_change(settings)


def test_the_source_is_read_with_the_readers_login(settings: Settings) -> None:
    dsn = psycopg2.extensions.parse_dsn(pipeline.source_dsn(settings))
    assert (dsn["user"], dsn["dbname"], dsn["port"]) == ("source_reader", "shop", str(settings.postgres_port))


def test_a_project_without_the_shop_runs_on_its_source(
    settings: Settings, database: Query, declare: Any, done: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    declare(OWN_TABLES)
    database(OWN_SQL)
    demo.run(settings, None, 5)
    assert [name for name, *_ in done] == ["up", "history", "stop"]


def test_no_module_of_the_launcher_imports_the_shop() -> None:
    for path in Path(demo.__file__).parent.glob("*.py"):
        assert not re.search(r"^\s*(from|import) sample\b", path.read_text(), re.MULTILINE), path


def test_the_rest_of_the_launcher_does_not_know_the_shop() -> None:
    for module in ("pipeline", "lifecycle"):
        text = Path(demo.__file__).with_name(f"{module}.py").read_text()
        assert not [word for word in ("sales", "sample", "olist", "shop") if word in text.lower()], module
