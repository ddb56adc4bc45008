"""Source tables with any schema and any name, on the real engines: two captures, and a reconciliation."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stack.environment import environment
from support.dbt_project import copy_project
from support.dbt_runner import Dbt, run_context

from ..conftest import Stack

NAMES = Path(__file__).parents[2] / "models" / "names"
MODELS = ["office_readings", "field_readings", "log_lines"]
SOURCE = '''
    create schema "Main Office";
    create schema field;
    create table "Main Office"."Readings" (id integer, updated_at timestamptz not null);
    create table field.readings (id integer, updated_at timestamptz not null);
    create table "Main Office"."Log Lines" (
        "line id" integer, "select" text, "user's ""note""" text, "Photo" bytea, "E Mail" text,
        updated_at timestamptz not null
    );
    grant usage on schema "Main Office", field to source_reader;
    grant select on all tables in schema "Main Office", field to source_reader;
    insert into "Main Office"."Readings" values (1, '2024-01-01 00:00Z'), (2, '2024-01-02 00:00Z');
    insert into field.readings values (1, '2024-01-03 00:00Z');
    insert into "Main Office"."Log Lines" values (7, 'all', 'it''s', null, null, '2024-01-04 00:00Z');
'''

RunBronze = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def run_bronze(stack: Stack, tmp_path: Path) -> Iterator[RunBronze]:
    """Create source tables whose names must be quoted, and yield a function that runs their bronze models.

    The function returns the versions in all three bronze tables. `kind`: the run's kind.
    """
    copy_project(tmp_path / "project", NAMES)
    dbt = Dbt(environment(stack.settings), tmp_path / "target", tmp_path / "project")
    stack.query_source(SOURCE)

    def run(kind: str) -> list[tuple[Any, ...]]:
        context = run_context(
            stack.draw_batch(),
            kind=kind,
            extract_from="2024-01-01 00:00:00",
            extract_to="2024-02-01 00:00:00",
        )
        success, output = dbt.run("trino", MODELS, context)
        assert success, output
        return stack.query_trino(
            "select 'office', id, _op from bronze.office_readings"
            " union all select 'field', id, _op from bronze.field_readings"
            ' union all select "user\'s ""note""", "line id", _op from bronze.log_lines order by 1, 2, 3'
        )

    yield run
    stack.query_source('drop schema "Main Office" cascade; drop schema field cascade')
    for model in MODELS:
        for schema in ("bronze", "reconciled"):
            stack.query_trino(f"drop table if exists {schema}.{model}")


def test_tables_of_any_name_and_schema_are_captured_and_reconciled(
    stack: Stack, run_bronze: RunBronze
) -> None:
    first = [
        ("field", 1, "upsert"),
        ("it's", 7, "upsert"),
        ("office", 1, "upsert"),
        ("office", 2, "upsert"),
    ]
    assert run_bronze("ranged") == first
    assert run_bronze("ranged") == first  # a second run adds no copies
    stack.query_source('delete from "Main Office"."Readings" where id = 1')
    assert run_bronze("reconcile") == [*first[:2], ("office", 1, "delete"), *first[2:]]
