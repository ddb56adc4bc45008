"""The statements of models, in full: names of any kind are quoted, and the SQL is the engine's."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import sqlglot

from support.dbt_project import copy_project

from .recorder import Recorder

RUN = {
    "kind": "scheduled", "batch": 7, "published_batch": 5, "publication": 6,
    "extract_from": "2018-05-01 10:45:00.000000", "extract_to": "2018-05-01 12:00:00.000000",
    "chunk_rows": 1000, "snapshots": {"silver.dim_lines": 42}, "rebuild": "none", "compare_whole": "none",
    "outdated": [],
    "tested_rows": "changed", "max_deleted_share": 0.2, "max_deleted_from": 10,
    "lake_catalog": "lake", "gold_catalog": "my-gold", "target_file_bytes": 1234,
}  # fmt: skip
MOMENT = "timestamp(6) with time zone"
BOOKKEEPING = {"_op": "varchar", "_hash": "varchar", "_extracted_at": MOMENT, "_batch": "bigint"}
READINGS = {"id": "integer", "updated_at": MOMENT}
LINES = {"line id": "integer", "select": "varchar", 'user\'s "note"': "varchar", "updated_at": MOMENT}
COLUMNS = {
    "main office.readings": READINGS,
    "field.readings": READINGS,
    "main office.log lines": LINES,
    "bronze.office_readings": READINGS | BOOKKEEPING,
    "bronze.field_readings": READINGS | BOOKKEEPING,
    "bronze.log_lines": LINES | BOOKKEEPING,
}
ANSWERS: dict[str, list[dict[str, Any]]] = {
    "with hours as": [{"hour": "2018-05-01 10:00:00", "row_count": 5000}],
    "select snapshot_id": [{"snapshot_id": 11}],
    "as bronze_rows": [{"source_rows": 10, "bronze_rows": 5000}],
    "as missed": [{"missed": 1, "deleted": 1, "went_back": 1}],
    "as row_count": [{"row_count": 0}],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    folder = tmp_path_factory.mktemp("names")
    copy_project(folder, Path(__file__).with_name("names"))
    return Recorder(folder, COLUMNS, ANSWERS)


def statements(project: Recorder, *arguments: str, target: str = "trino", **run: Any) -> list[str]:
    """The statements of an invocation that succeeds."""
    result = project.dbt(*arguments, "--threads", "1", run=RUN | run, target=target)
    failures = [node.message for node in result.result.results if node.status not in ("success", "pass")]
    assert result.success and not failures, failures
    return list(project.statements)


def failure(project: Recorder, *arguments: str, run: dict[str, Any] | None) -> str:
    """The message of an invocation that fails."""
    results = project.dbt(*arguments, run=run).result.results
    [message] = [node.message for node in results if node.status == "error"]
    return str(message)


@pytest.fixture(scope="module")
def captured(project: Recorder) -> list[str]:
    return statements(project, "run", "--select", "log_lines")


@pytest.fixture(scope="module")
def reconciled(project: Recorder) -> list[str]:
    return statements(project, "run", "--select", "log_lines", kind="reconcile")


def passed_through(found: list[str]) -> list[str]:
    """The queries that statements pass through to PostgreSQL."""
    queries = [re.search(r"system\.query\(query => '((?:[^']|'')*)'\)", statement) for statement in found]
    return [query[1].replace("''", "'") for query in queries if query]


def test_every_statement_is_sql_of_its_engine(
    project: Recorder, captured: list[str], reconciled: list[str]
) -> None:
    trino = [*captured, *reconciled, *statements(project, "run", "--select", "gold")]
    trino += statements(project, "test", "--select", "log_lines")
    spark = statements(project, "run", "--select", "dim_lines", target="spark")
    spark += statements(project, "test", "--select", "dim_lines", target="spark")
    for dialect, found in (("trino", trino), ("spark", spark)):
        assert found
        for statement in found:
            tree = sqlglot.parse_one(statement, dialect=dialect)
            assert not isinstance(tree, sqlglot.exp.Command), statement


def test_names_of_a_source_table_and_its_columns_are_quoted(captured: list[str]) -> None:
    merge = captured[-1]
    assert 'select * from "postgres"."Main Office"."Log Lines"' in merge
    assert 'partition by "line id", "select", updated_at' in merge
    assert 'cast(array[cast("line id" as varchar), cast("select" as varchar)] as json)' in merge
    assert """array['line id', 'select', 'user''s "note"', 'updated_at']""" in merge
    assert 'cast("user\'s ""note""" as varchar)' in merge
    assert merge.count("mod(crc32(") == 2


def test_hour_of_many_rows_is_captured_in_buckets(captured: list[str]) -> None:
    merges = [statement for statement in captured if "merge into" in statement]
    assert len(merges) == 1 + 5000 // 2000
    for number, merge in enumerate(merges):
        assert f"as json)))), 3) = {number}" in " ".join(merge.split())


@pytest.fixture(scope="module")
def office(postgres_dsn: str) -> Iterator[Any]:
    """A source with these names."""
    with closing(psycopg2.connect(postgres_dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            """
            create schema "Main Office";
            create table "Main Office"."Log Lines" (updated_at timestamptz);
            insert into "Main Office"."Log Lines" values ('2018-05-01 11:00:00+00'), ('infinity')
            """
        )
        yield cursor
        connection.rollback()


def test_queries_on_the_source_are_answered(office: Any, captured: list[str], reconciled: list[str]) -> None:
    [window] = passed_through(captured)
    office.execute(window)
    assert [row_count for _, row_count in office.fetchall()] == [1]
    [times] = passed_through(reconciled)
    office.execute(times)
    assert office.fetchall() == [(1,)]


def test_tables_of_one_name_in_two_schemas_are_told_apart(project: Recorder) -> None:
    for model, table in (
        ("office_readings", '"Main Office"."Readings"'),
        ("field_readings", '"field"."readings"'),
    ):
        found = statements(project, "run", "--select", model)
        assert f"from {table}" in passed_through(found)[0]
        assert f'select * from "postgres".{table}' in found[-1]
        assert f'merge into "lake"."bronze"."{model}" as target' in found[-1]


def test_findings_go_to_the_gold_catalog_by_their_columns(reconciled: list[str]) -> None:
    [insert] = [statement for statement in reconciled if "audit.reconciliations" in statement]
    assert 'insert into "my-gold".audit.reconciliations (' in insert
    assert "batch, table_name, compared_at, missed, deleted, went_back" in insert
    assert "'log_lines'" in insert


def test_size_of_files_is_the_runs(project: Recorder) -> None:
    found = statements(project, "run", "--select", "dim_lines", target="spark")
    [create] = [statement for statement in found if "create table" in statement]
    assert "'write.target-file-size-bytes' = '1234'" in create
    assert "comment 'Lines: it\\'s a \\\\ table.'" in create


def test_catalogs_are_settings(project: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALLION_SOURCE_CATALOG", "erp")
    monkeypatch.setenv("MEDALLION_LAKE_CATALOG", "ice")
    found = statements(project, "run", "--select", "field_readings")
    assert 'table("erp".system.query(' in found[1]
    assert 'select * from "erp"."field"."readings"' in found[-1]
    assert 'merge into "ice"."bronze"."field_readings"' in found[-1]


def test_model_outside_of_a_run_says_what_to_do(project: Recorder) -> None:
    message = failure(project, "run", "--select", "field_readings", run=None)
    assert "Trigger medallion_hourly, or run `make rebuild` after a model changed" in message


def test_column_that_trino_does_not_show_is_named(project: Recorder) -> None:
    lacking = Recorder(project.project, COLUMNS | {"field.readings": {"updated_at": MOMENT}}, ANSWERS)
    message = failure(lacking, "run", "--select", "field_readings", run=RUN)
    assert "Trino shows no readings.id at the source. Put the column back" in message
    assert lacking.statements == []


@pytest.mark.parametrize(
    ("bronze", "source", "outcome"),
    [
        ("integer", "bigint", 'alter column "id" set data type bigint'),
        ("bigint", "integer", 'cast("id" as bigint) as "id"'),
        ("varchar", "integer", 'cast("id" as varchar) as "id"'),
        ("decimal(10,2)", "decimal(12,2)", 'alter column "id" set data type decimal(12,2)'),
        ("decimal(12,2)", "decimal(10,1)", 'cast("id" as decimal(12,2)) as "id"'),
    ],
)
def test_type_that_changed_at_the_source_is_taken_over(
    project: Recorder, bronze: str, source: str, outcome: str
) -> None:
    columns = COLUMNS | {
        "field.readings": READINGS | {"id": source},
        "bronze.field_readings": READINGS | BOOKKEEPING | {"id": bronze},
    }
    changed = Recorder(project.project, columns, ANSWERS)
    assert any(outcome in statement for statement in statements(changed, "run", "--select", "field_readings"))


@pytest.mark.parametrize(("bronze", "source"), [("bigint", "varchar"), ("decimal(12,2)", "decimal(12,3)")])
def test_type_that_bronze_cannot_hold_stops_the_table(project: Recorder, bronze: str, source: str) -> None:
    columns = COLUMNS | {
        "field.readings": READINGS | {"id": source},
        "bronze.field_readings": READINGS | BOOKKEEPING | {"id": bronze},
    }
    changed = Recorder(project.project, columns, ANSWERS)
    message = failure(changed, "run", "--select", "field_readings", run=RUN)
    assert f"readings.id is {source} at the source now, and {bronze} in" in message
    assert "Rename the column in bronze" in message
    assert not [statement for statement in changed.statements if "merge" in statement]


def test_too_many_deletes_write_nothing_to_bronze(project: Recorder) -> None:
    answers = ANSWERS | {"as missed": [{"missed": 0, "deleted": 30, "went_back": 0}]}
    emptied = Recorder(project.project, COLUMNS, answers)
    message = failure(emptied, "run", "--select", "field_readings", run=RUN | {"kind": "reconcile"})
    assert "field_readings: 30 of 40 rows are gone at the source, more than 20%" in message
    assert not [statement for statement in emptied.statements if "merge" in statement]
