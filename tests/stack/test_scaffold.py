"""The files that `make table` and `make tables` write, on a real PostgreSQL."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import yaml
from click.testing import CliRunner
from rich.console import Console

from medallion.names import bronze_names
from stack import __main__
from stack.__main__ import cli
from stack.errors import StackError
from stack.scaffold import tables
from stack.scaffold.checks import Term, Untranslatable, translate
from stack.scaffold.files import read_models, scalar, write_files
from stack.scaffold.names import model_name
from stack.settings import Settings
from support.postgres import Server

SCHEMA = Path(__file__).with_name("scaffold_schema.sql")
EXPECTED = Path(__file__).with_name("stg_invoices.yml")
Run = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def owner(erp: Server) -> Iterator[Run]:
    """Create the schemas in `erp`; the fixture is a function that runs a statement there as the owner."""
    with closing(psycopg2.connect(erp.url(database="erp"))) as connection, connection.cursor() as cursor:
        connection.autocommit = True

        def run(statement: str) -> list[tuple[Any, ...]]:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

        run(SCHEMA.read_text())
        yield run


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Create an empty folder for models."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def read(models: Path, name: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the source, the bronze model and the silver model of a table."""
    bronze = yaml.safe_load((models / "bronze" / f"{name}.yml").read_text())
    silver = yaml.safe_load((models / "silver" / "staging" / f"stg_{name}.yml").read_text())
    return bronze["sources"][0], bronze["models"][0], silver["models"][0]


@pytest.mark.usefixtures("owner")
def test_files_of_a_typed_table_are_as_a_person_would_write_them(
    erp_settings: Settings, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables.write_table(erp_settings, "billing.invoices", models=models)
    expected = {
        "bronze/invoices.sql": "select * from {{ source('billing', 'invoices') }}\n",
        "bronze/invoices.yml": """\
sources:
  - name: billing
    schema: billing
    loaded_at_field: updated_at
    tables:
      - {name: invoices, description: One row per invoice.}
models:
  - name: invoices
    description: Every row version of `billing.invoices` ever captured.
    config: {meta: {natural_key: [invoice_id]}}
""",
        "silver/staging/stg_invoices.sql": """\
select
    invoice_id, payer, status, total, discount, rate, lines, issued_on, is_open, updated_at
from {{ ref('invoices') }}
""",
        "silver/staging/stg_invoices.yml": EXPECTED.read_text(),
    }  # fmt: skip
    written = {
        str(path.relative_to(models)): path.read_text() for path in models.rglob("*") if path.is_file()
    }
    assert written == expected
    # A table of ten columns, nearly all with a rule, needs at most 45 lines.
    assert sum(text.count("\n") for text in written.values()) <= 45
    output = capsys.readouterr().out
    assert (
        "left out: the constraint discount_limit: CHECK ((discount < (1)::numeric)): discount is text"
        in output
    )
    assert "left out: the constraint letters" in output
    assert "make manifest" in output


@pytest.mark.usefixtures("owner")
def test_every_type_has_a_data_type(erp_settings: Settings, models: Path) -> None:
    tables.write_table(erp_settings, "billing.kinds", models=models)
    source, bronze, silver = read(models, "kinds")
    assert {column["name"]: column["data_type"] for column in silver["columns"]} == {
        "id": "text", "small": "integer", "whole": "integer", "large": "bigint", "amount": "decimal(38,10)",
        "digits": "text", "rounded": "text", "tiny": "text", "free": "text", "share": "decimal(12,2)",
        "exact": "double", "flag": "boolean", "day": "date", "moment": "timestamp", "instant": "timestamptz",
        "time_of_day": "text", "span": "text", "price": "text", "code": "text", "word": "text", "state": "text",
        "address": "text", "document": "text", "bytes": "text", "list": "text", "pair": "text", "period": "text",
        "bits": "text", "updated_at": "timestamp",
    }  # fmt: skip
    assert (source["loaded_at_field"], bronze["config"]["meta"]) == ("updated_at", {"natural_key": ["id"]})


@pytest.mark.usefixtures("owner")
def test_odd_names_are_quoted_and_twins_numbered(erp_settings: Settings, models: Path) -> None:
    tables.write_table(erp_settings, 'billing."Order.Lines"', models=models)
    source, bronze, silver = read(models, "order_lines")
    assert source["tables"][0]["identifier"] == "Order.Lines"
    assert source["loaded_at_field"] == "Modified Date"
    assert bronze["config"]["meta"]["natural_key"] == ["invoice id", "line"]
    assert silver["constraints"] == [{"type": "primary_key", "columns": ["invoice id", "line"]}]
    assert [column["name"] for column in silver["columns"]] == [
        "invoice id", "line", "line_2", "group", "it's", "no", "modified date"
    ]  # fmt: skip
    sql = (models / "silver" / "staging" / "stg_order_lines.sql").read_text()
    assert "`invoice id`, line, line_2, `group`, `it's`, no, `modified date`" in sql


@pytest.mark.usefixtures("owner")
def test_a_schema_is_written_and_what_failed_is_listed(
    erp_settings: Settings, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StackError) as failure:
        tables.write_tables(erp_settings, "crm", overwrite=False, models=models)
    message = str(failure.value)
    # The message names the project of the models, because `make new` writes into another project than its own.
    assert f"4 of 7 tables were not done in {models.parents[2]}:\n" in message
    for line in (
        "crm.invoice_view: a view has no key of its own. Name the columns that identify a row: make table"
        " TABLE=crm.invoice_view KEY=column,column",
        "crm.loose: the unique index loose_code_key (code) may hold nulls",
        "crm.日本: no model can have this name",
        "crm.secret: the role reader may not read it. Let its owner run:\n  grant usage",
    ):
        assert line in message
    # A partition gets no model, because its rows belong to its partitioned table.
    assert {path.stem for path in models.rglob("*.sql")} == {
        "invoices", "events", "shared", "stg_invoices", "stg_events", "stg_shared"
    }  # fmt: skip
    output = capsys.readouterr().out
    assert "left out: not null of name, which has empty texts" in output
    assert "left out: the column hidden, because the role reader may not read it" in output
    assert "left out: the column _state, because silver has a column of that name itself" in output
    source, bronze, silver = read(models, "invoices")
    assert "loaded_at_field" not in source
    assert bronze["config"]["meta"] == {"natural_key": ["id"], "capture": "full"}
    assert "constraints" not in silver["columns"][1]
    # Bronze itself has a column `_reading`, so it gives the source's column of that name another name.
    assert [column["name"] for column in silver["columns"]] == ["id", "name", "number", "_reading_2"]
    # Comparing a table of 100,001 rows each hour would cost too much.
    assert read(models, "events")[1]["config"]["meta"]["capture"] == "daily"
    capsys.readouterr()
    with pytest.raises(StackError):
        tables.write_tables(erp_settings, "crm", overwrite=False, models=models)
    assert "there already" in capsys.readouterr().out


@pytest.mark.usefixtures("owner")
def test_a_second_table_of_a_name_gets_its_schema_in_front(erp_settings: Settings, models: Path) -> None:
    tables.write_table(erp_settings, "billing.invoices", models=models)
    tables.write_table(erp_settings, "crm.invoices", models=models)
    assert read(models, "crm_invoices")[0]["tables"][0]["identifier"] == "invoices"
    for table in ("crm.invoices", "billing.invoices"):
        with pytest.raises(StackError, match="already, and nothing was changed; FORCE=1"):
            tables.write_table(erp_settings, table, models=models)
    path = models / "bronze" / "crm_invoices.yml"
    before = path.read_text()
    path.write_text(f"{before}# mine\n")
    tables.write_table(erp_settings, "crm.invoices", overwrite=True, models=models)
    assert path.read_text() == before
    assert read_models(models)["crm_invoices"] == ("crm", "invoices")


@pytest.mark.usefixtures("owner")
def test_key_and_cursor_may_be_named(erp_settings: Settings, models: Path) -> None:
    tables.write_table(erp_settings, "crm.invoice_view", ["ID"], "Number", models=models)
    source, bronze, _ = read(models, "invoice_view")
    assert (source["loaded_at_field"], bronze["config"]["meta"]) == ("number", {"natural_key": ["id"]})


@pytest.mark.usefixtures("owner")
@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ("invoices", {}, r"TABLE=invoices is no schema\.name"),
        ("billing.invoces", {}, r"has no table billing\.invoces\. The schema has: .*billing\.invoices"),
        ("crm.kinds", {}, r"Perhaps: billing\.kinds"),
        ("nowhere.x", {}, r"Its schemas: .*billing, crm"),
        ("crm.loose", {"key": ["cod"]}, r"crm\.loose has no column cod\. Its columns: code, "),
        (
            "crm.shared",
            {"key": ["hidden"]},
            "key's column hidden can't be taken: the role reader may not read it",
        ),
        (
            "crm.loose",
            {"key": ["code"], "cursor": "note"},
            r"crm\.loose\.note is text\. A cursor is a readable",
        ),
    ],
)
def test_a_refusal_says_what_to_do_and_writes_nothing(
    erp_settings: Settings, models: Path, table: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(StackError, match=message):
        tables.write_table(erp_settings, table, **options, models=models)
    assert not [*models.rglob("*")]


@pytest.mark.usefixtures("owner")
def test_new_project_for_an_unknown_schema_is_not_made(
    erp_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(__main__, "read_settings", lambda: erp_settings)
    result = CliRunner().invoke(cli, ["new", str(tmp_path / "my-etl"), "--schema", "nowhere"])
    assert isinstance(result.exception, StackError)
    assert "has no table in the schema nowhere. Its schemas: " in str(result.exception)
    assert not (tmp_path / "my-etl").exists()


def test_names_that_dbt_would_read_as_a_template_are_refused_or_left_out(
    erp_settings: Settings, models: Path, owner: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    owner("""
        create schema marks;
        create table marks."bills {{ 1 }}" (id int primary key);
        create table marks.tagged ("{% id %}" int primary key);
        create table marks.bills (
            id int primary key, "{{ total }}" int, "{# note #}" text, "{plain}" text,
            constraint filled check ("{plain}" <> '{{ x }}')
        );
        grant usage on schema marks to reader;
        grant select on all tables in schema marks to reader
    """)
    with pytest.raises(StackError, match=r"2 of 3 tables were not done") as failure:
        tables.write_tables(erp_settings, "marks", overwrite=False, models=models)
    assert str(failure.value).splitlines()[1:] == [
        "  marks.bills {{ 1 }}: dbt would read the name as a template. Give the table a view.",
        "  marks.tagged: the key's column {% id %} can't be taken: dbt would read its name as a template.",
    ]
    output = capsys.readouterr().out
    for name in ("{{ total }}", "{# note #}"):
        assert f"bills: left out: the column {name}, because dbt would read its name as a template" in output
    assert (
        "left out: the constraint filled: CHECK ((\"{plain}\" <> '{{ x }}'::text)): dbt would read" in output
    )
    assert [column["name"] for column in read(models, "bills")[2]["columns"]] == ["id", "{plain}"]
    assert "{{ x }}" not in (models / "silver" / "staging" / "stg_bills.yml").read_text()
    assert len([*models.rglob("*.sql")]) == 2


def test_two_hundred_tables_take_seconds(
    erp_settings: Settings,
    models: Path,
    owner: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal = Console(file=StringIO(), force_terminal=True, width=200)
    monkeypatch.setattr(tables, "table_console", terminal)
    owner("create schema wide")
    for (statement,) in owner(
        "select format('create table wide.t%s (id int primary key, name text not null, updated_at timestamptz)', n)"
        " from generate_series(1, 200) as n"
    ):
        owner(statement)
    owner("grant usage on schema wide to reader; grant select on all tables in schema wide to reader")
    began = time.monotonic()
    tables.write_tables(erp_settings, "wide", overwrite=False, models=models)
    assert time.monotonic() - began < 30
    assert len([*models.rglob("*.sql")]) == 400
    assert isinstance(terminal.file, StringIO)
    progress, _, summary = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", terminal.file.getvalue()).partition("┏")
    assert "Tables of wide" in progress and "100%" in progress
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in summary.splitlines() if "│" in line]
    assert sorted(rows) == sorted([f"t{n}", f"t{n}", "id", "updated_at", "3"] for n in range(1, 201))
    output = capsys.readouterr().out
    assert f"Wrote the files of 200 of 200 tables into {models}." in output
    assert "t7: the cursor updated_at may be null; the daily comparison finds such rows" in output


def test_files_are_written_all_or_none(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("a file, and no folder")
    with pytest.raises(StackError, match="Nothing was left there"):
        write_files(tmp_path, {"a/x.yml": "x", "b/x.yml": "x"}, overwrite=False)
    assert not [*(tmp_path / "a").iterdir()]
    write_files(tmp_path, {"a/x.yml": "x"}, overwrite=False)
    with pytest.raises(StackError, match="FORCE=1"):
        write_files(tmp_path, {"a/y.yml": "y", "a/x.yml": "y"}, overwrite=False)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x.yml"]


TERMS = {
    "a": Term("a", "int4", "integer"),
    "price": Term("price", "numeric", "decimal(10,2)"),
    "rate": Term("rate", "float4", "real"),
    "t": Term("t", "varchar", "text"),
    "on": Term("on", "bool", "boolean"),
    "d": Term("d", "date", "date"),
    "data": Term("data", "jsonb", "text"),
    "Odd Name": Term("odd name", "text", "text"),
}


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        ("CHECK ((price >= (0)::numeric))", "price >= 0"),
        ("CHECK ((a > '-1'::integer)) NO INHERIT", "a > -1"),
        ("CHECK (((a)::integer < 100))", "a < 100"),
        ("CHECK (((a >= 1) AND (a <= 5)))", "a >= 1 and a <= 5"),
        ("CHECK (((a > 1) OR ((a < 0) AND \"on\")))", "a > 1 or (a < 0 and `on`)"),
        ("CHECK (((rate)::double precision <= (0.5)::double precision))", "rate <= 0.5"),
        ("CHECK (((t)::text = ANY ((ARRAY['x'::character varying, 'it''s'::character varying])::text[])))",
         "t in ('x', 'it\\'s')"),
        ("CHECK ((a <> ALL (ARRAY[1, 2])))", "a not in (1, 2)"),
        ("CHECK ((d >= '2020-01-01'::date))", "d >= date '2020-01-01'"),
        ("CHECK ((NOT (a = 1)))", "not (a = 1)"),
        ("CHECK ((\"Odd Name\" IS NOT NULL))", "`odd name` is not null"),
        ("CHECK (((t)::text <> ''::text))", "t <> ''"),
    ],
)  # fmt: skip
def test_simple_checks_are_translated(definition: str, expected: str) -> None:
    assert translate(definition, TERMS).expression == expected


@pytest.mark.parametrize(
    "definition",
    [
        "CHECK ((length((t)::text) = 3))",
        "CHECK ((t ~ '^x'::text))",
        "CHECK ((t > 'a'::text))",
        "CHECK ((t = ' x'::text))",
        "CHECK ((d <= CURRENT_DATE))",
        "CHECK (((price)::integer > 1))",
        "CHECK (((a / 2) > 1))",
        "CHECK ((data = '{}'::jsonb))",
        "CHECK ((a > ( SELECT 1)))",
        "CHECK ((gone = 1))",
        "CHECK ((((a",
    ],
)
def test_other_checks_are_left_out(definition: str) -> None:
    with pytest.raises(Untranslatable):
        translate(definition, TERMS)


@pytest.mark.parametrize(
    "text",
    ["plain", "a: b", "- x", "no", "it's", 'a "b"', "x, y", "#1", "", "é", "a #b", "1.5", "null", "{x}"],
)
def test_texts_come_back_from_yaml(text: str) -> None:
    assert yaml.safe_load(f"[{scalar(text)}]") == [text]


def test_names_of_models_and_columns() -> None:
    columns = {"Id": False, "id_2": False, "id": False, "ID": False, "_op": True}
    assert bronze_names(columns.items()) == ["id", "id_2", "id_3", "id_4", "_op_2"]
    taken: dict[str, tuple[str, str] | None] = {"plans": None, "stg_bills": None}
    assert model_name("erp", "Plans", taken) == "erp_plans"
    assert model_name("erp", "bills", taken) == "erp_bills"
    assert model_name("My Data", "2024.plan", taken) == "my_data_2024_plan"
    assert model_name("erp", "★", taken) is None


def test_commands_explain_themselves() -> None:
    for name, words in {"table": "--key", "tables": "SCHEMA", "new": "--schema"}.items():
        result = CliRunner().invoke(cli, [name, "--help"])
        assert result.exit_code == 0 and words in result.output
