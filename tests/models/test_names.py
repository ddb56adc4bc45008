"""The statements that dbt sends for models: any name is quoted correctly, and the SQL is valid for its engine."""

import json
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
BOOKKEEPING = {
    "_changed_at": MOMENT,
    "_op": "varchar",
    "_hash": "varchar",
    "_extracted_at": MOMENT,
    "_batch": "bigint",
}
READINGS = {"id": "integer", "updated_at": MOMENT}
LINES = {
    "line id": "integer", "select": "varchar", 'user\'s "note"': "varchar", "e mail": "varchar", "updated_at": MOMENT,
    "_unkept": "varchar",
}  # fmt: skip
# Table of the lake -> its columns.
COLUMNS = {
    "bronze.office_readings": READINGS | BOOKKEEPING,
    "bronze.field_readings": READINGS | BOOKKEEPING,
    "bronze.log_lines": LINES | BOOKKEEPING,
}


def entry(name: str, bronze_type: str, **changes: Any) -> dict[str, Any]:
    """Return a row of the query on the source's catalog, for a column.

    Its expressions are placeholders like `value of id`, which tests look for in the statements.
    """
    defaults = {
        "name": name, "data_type": "its type", "bronze_type": bronze_type, "as_value": f"value of {name}",
        "as_text": f"text of {name}", "spelling": "its spelling", "fits": None, "is_readable": True,
        "is_reserved": False, "policies": None, "session": None,
    }  # fmt: skip
    return {"entry": json.dumps(defaults | changes)}


def readings(id_type: str = "integer", **changes: Any) -> list[dict[str, Any]]:
    """Return the rows of the query on the source's catalog, for the two columns of a table of readings."""
    return [entry("id", id_type, **changes), entry("updated_at", MOMENT, fits="updated_at is finite")]


# The part of a query on the source's catalog that names the table.
FIELD_READINGS, OFFICE_READINGS = "(''field'', ''readings'')", "(''Main Office'', ''Readings'')"
LOG_LINES = "(''Main Office'', ''Log Lines'')"
# The answer to the query that tests the rows of all tables: only the first table has rows to test.
ROWS = {
    "model_number": 0, "row_count": 9, "breaches": json.dumps([0] * 30),
    "first_change": "2018-05-01 10:45:00", "last_change": "2018-06-01 00:00:00",
}  # fmt: skip
FOUND = {"missed": 1, "deleted": 1, "went_back": 1, "unmoved": 0, "ambiguous": 0, "captured": 3}
ANSWERS: dict[str, list[dict[str, Any]]] = {
    FIELD_READINGS: readings(),
    OFFICE_READINGS: readings(),
    LOG_LINES: [
        entry("line id", "integer"),
        entry("select", "varchar"),
        entry('user\'s "note"', "varchar"),
        entry("Photo", "varchar"),
        entry("E Mail", "date"),
        *readings()[1:],
    ],
    "with steps as": [{"step": "2018-05-01 10:00:00", "last_step": "2018-05-01 11:00:00", "row_count": 5000}],
    "select snapshot_id": [{"snapshot_id": 11}],
    "as bronze_rows": [{"source_rows": 10, "bronze_rows": 5000, "null_cursor": 0, "ahead": 0}],
    "as missed": [FOUND],
    "as breaches": [ROWS],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    folder = tmp_path_factory.mktemp("names")
    copy_project(folder, Path(__file__).with_name("names"))
    return Recorder(folder, COLUMNS, ANSWERS)


def statements(project: Recorder, *arguments: str, target: str = "trino", **run: Any) -> list[str]:
    """Invoke dbt, check that it succeeds, and return the statements."""
    result = project.dbt(*arguments, "--threads", "1", run=RUN | run, target=target)
    failures = [node.message for node in result.result.results if node.status not in ("success", "pass")]
    assert result.success and not failures, failures
    # Leave out statements that write the comments, which the recorded tables lack.
    return [statement for statement in project.statements if "comment on column" not in statement]


def failure(project: Recorder, *arguments: str, run: dict[str, Any] | None) -> str:
    """Invoke dbt, check that one model fails, and return its message."""
    results = project.dbt(*arguments, run=run).result.results
    [message] = [node.message for node in results if node.status == "error"]
    return str(message)


@pytest.fixture(scope="module")
def captured(project: Recorder) -> list[str]:
    return statements(project, "run", "--select", "log_lines")


@pytest.fixture(scope="module")
def reconciled(project: Recorder) -> list[str]:
    return statements(project, "run", "--select", "log_lines", kind="reconcile")


def passed_through(texts: list[str]) -> list[str]:
    """Return the queries that Trino's statements pass to PostgreSQL."""
    queries = [re.search(r"system\.query\(query => '((?:[^']|'')*)'\)", statement) for statement in texts]
    return [query[1].replace("''", "'") for query in queries if query]


def test_every_statement_is_sql_of_its_engine(
    project: Recorder, captured: list[str], reconciled: list[str]
) -> None:
    trino = [*captured, *reconciled, *statements(project, "run", "--select", "gold")]
    trino += statements(project, "test", "--select", "log_lines")
    trino += statements(project, "test", "--select", "path:tests/medallion")
    spark = statements(project, "run", "--select", "dim_lines", target="spark")
    spark += statements(project, "test", "--select", "dim_lines", target="spark")
    for dialect, texts in (("trino", trino), ("spark", spark)):
        assert texts
        for statement in texts:
            tree = sqlglot.parse_one(statement, dialect=dialect)
            assert not isinstance(tree, sqlglot.exp.Command), statement


@pytest.fixture(scope="module")
def promises(project: Recorder) -> list[str]:
    """The queries of the data tests that cover every table: rows and keys of bronze, and the same of silver staging."""
    texts = statements(project, "test", "--select", "path:tests/medallion")
    return [" ".join(statement.split()) for statement in texts if "as should_error" not in statement]


def test_every_table_is_asked_for_its_promises(promises: list[str]) -> None:
    rows, keys, staging_rows, staging_keys = promises
    for table in ("log_lines", "office_readings", "field_readings"):
        assert f'from "lake"."bronze"."{table}" where _batch > 5' in rows
    assert """count_if("_hash" is null)""" in rows
    # The second query reads only the table that has rows to test, and only the time range of these rows.
    assert '"office_readings"' not in keys and '"log_lines"' not in keys
    assert (
        "_changed_at between timestamp '2018-05-01 10:45:00 UTC' and timestamp '2018-06-01 00:00:00 UTC'"
        in keys
    )
    assert 'group by "_changed_at", "_op", "_hash"' in keys

    assert """count_if(_state = 'current' and "line id" is null)""" in staging_rows
    assert """count_if(_state = 'current' and not ("line id" between 1 and 9))""" in staging_rows
    # The check that calls length() is left out: a condition with a function may mean something else on Trino.
    assert "length" not in staging_rows
    assert (
        'select "line id", "select" from "lake"."silver"."stg_log_lines" where _state = \'current\' and'
        ' ("line id", "select") in (select "line id", "select" from "lake"."silver"."stg_log_lines"'
        " where _state = 'current' and _batch > 5)" in staging_keys
    )


def test_broken_promises_are_named(project: Recorder) -> None:
    answers = {
        "as breaches": [ROWS | {"breaches": json.dumps([0, 2, *[0] * 30])}],
        "as broken_rows": [{"promise_number": 0, "broken_rows": 3}],
    }
    breaking = Recorder(project.project, COLUMNS, answers)
    *_, verdict = statements(breaking, "test", "--select", "bronze_versions")
    assert "'field_readings', '_op is not null', 2" in verdict
    assert "'field_readings', '_changed_at, _op, _hash is unique', 3" in verdict


def test_only_the_tables_that_a_run_built_are_asked(
    project: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDALLION_TESTED", "stg_field_readings stg_log_lines")
    texts = "".join(statements(project, "test", "--select", "path:tests/medallion"))
    assert '"bronze"."field_readings"' in texts and '"silver"."stg_log_lines"' in texts
    assert '"bronze"."office_readings"' not in texts


def test_names_of_a_source_table_and_its_columns_are_quoted(captured: list[str]) -> None:
    merge = captured[-1]
    assert 'from "Main Office"."Log Lines" as source' in passed_through([merge])[0]
    assert 'partition by "line id", "select", _changed_at' in merge
    assert 'cast(array[cast("line id" as varchar), cast("select" as varchar)] as json)' in merge
    assert """array['line id', 'select', 'user''s "note"', 'e mail', 'updated_at', '_unkept']""" in merge
    assert 'cast("user\'s ""note""" as varchar)' in merge
    assert merge.count("mod(crc32(") == 2


def test_table_is_read_in_one_statement_of_postgres_by_the_expressions_of_its_catalog(
    captured: list[str],
) -> None:
    [query] = passed_through(captured[-1:])
    selected, _, rest = query.rpartition("from")
    assert "value of line id as c1, value of select as c2" in selected
    # The column `Photo` is left out, and only a hash of the text in `E Mail` is read.
    assert (
        "encode(sha256(convert_to(text of E Mail, 'UTF8')), 'hex') as c4, value of updated_at as c5"
        in selected
    )
    assert (
        "(values ('updated_at', case when not (updated_at is finite) then text of updated_at end))"
        in selected
    )
    cursor = 'source."updated_at"'
    window = f"{cursor} >= '2018-05-01 10:45:00+00' and {cursor} < '2018-05-01 12:00:00+00'"
    assert f"where {window} and true" in " ".join(rest.split())


def test_hour_of_many_rows_is_captured_in_buckets(captured: list[str]) -> None:
    merges = [statement for statement in captured if "merge into" in statement]
    assert len(merges) == 1 + 5000 // 2000
    for number, merge in enumerate(merges):
        assert f"as json)))), 3) = {number}" in " ".join(merge.split())


@pytest.fixture(scope="module")
def office(postgres_dsn: str) -> Iterator[Any]:
    """A cursor on a PostgreSQL database with the schema `Main Office` and its table `Log Lines`."""
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


def test_query_for_the_chunks_is_answered(office: Any, captured: list[str]) -> None:
    _, window, *_ = passed_through(captured)
    office.execute(window)
    assert [row_count for *_, row_count in office.fetchall()] == [1]


def test_tables_of_one_name_in_two_schemas_are_told_apart(project: Recorder) -> None:
    for model, table in (
        ("office_readings", '"Main Office"."Readings"'),
        ("field_readings", '"field"."readings"'),
    ):
        texts = statements(project, "run", "--select", model)
        _, window, *_, rows = passed_through(texts)
        assert f"from {table}" in window
        assert f"from {table} as source" in rows
        assert f'merge into "lake"."bronze"."{model}" as target' in texts[-1]


def test_findings_go_to_the_gold_catalog_by_their_columns(reconciled: list[str]) -> None:
    [insert] = [statement for statement in reconciled if "audit.reconciliations" in statement]
    assert 'insert into "my-gold".audit.reconciliations (' in insert
    assert "batch, table_name, compared_at, missed, deleted, went_back" in insert
    assert "'log_lines'" in insert


def test_size_of_files_is_the_runs(project: Recorder) -> None:
    texts = statements(project, "run", "--select", "dim_lines", target="spark")
    [create] = [statement for statement in texts if "create table" in statement]
    assert "'write.target-file-size-bytes' = '1234'" in create
    assert "comment 'Lines: it\\'s a \\\\ table.'" in create


def test_catalogs_are_settings(project: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALLION_SOURCE_CATALOG", "erp")
    monkeypatch.setenv("MEDALLION_LAKE_CATALOG", "ice")
    texts = statements(project, "run", "--select", "field_readings")
    assert len(passed_through(texts)) == " ".join(texts).count('table("erp".system.query(') > 2
    assert 'merge into "ice"."bronze"."field_readings"' in texts[-1]


def test_model_outside_of_a_run_says_what_to_do(project: Recorder) -> None:
    message = failure(project, "run", "--select", "field_readings", run=None)
    assert "Trigger medallion_hourly, or run `make rebuild` after a model changed" in message


def with_field_readings(project: Recorder, entries: list[dict[str, Any]], **bronze: str) -> Recorder:
    """Return the project with other columns of field.readings at the source, and other types in its bronze table."""
    columns = COLUMNS | {"bronze.field_readings": READINGS | BOOKKEEPING | bronze}
    return Recorder(project.project, columns, ANSWERS | {FIELD_READINGS: entries})


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "The source has no table field.readings. Nothing was written"),
        (readings()[1:], "The source has no column field.readings.id that its reader may select"),
        (
            readings(is_readable=False),
            "The source has no column field.readings.id that its reader may select",
        ),
    ],
)
def test_table_or_column_that_the_source_lacks_is_named(
    project: Recorder, entries: list[dict[str, Any]], message: str
) -> None:
    lacking = with_field_readings(project, entries)
    assert message in failure(lacking, "run", "--select", "field_readings", run=RUN)
    assert len(lacking.statements) == 1  # only the query on the source's catalog


@pytest.mark.parametrize(
    ("bronze", "source", "outcome"),
    [
        ("integer", "bigint", 'alter column "id" set data type bigint'),
        ("real", "double", 'alter column "id" set data type double'),
        ("bigint", "integer", 'cast(c1 as bigint) as "id"'),
        ("decimal(10,2)", "decimal(12,2)", 'alter column "id" set data type decimal(12,2)'),
        ("decimal(12,2)", "decimal(10,1)", 'cast(c1 as decimal(12,2)) as "id"'),
    ],
)
def test_type_that_changed_at_the_source_is_taken_over(
    project: Recorder, bronze: str, source: str, outcome: str
) -> None:
    changed = with_field_readings(project, readings(source), id=bronze)
    assert any(outcome in statement for statement in statements(changed, "run", "--select", "field_readings"))


def test_text_that_became_a_number_goes_on_unless_it_is_a_key(project: Recorder) -> None:
    entries = [*readings(), entry("code", "integer")]
    changed = with_field_readings(project, entries, code="varchar")
    texts = statements(changed, "run", "--select", "field_readings")
    assert 'cast(c3 as varchar) as "code"' in texts[-1]


@pytest.mark.parametrize(
    ("bronze", "source"),
    [
        ("bigint", "varchar"),
        ("decimal(12,2)", "decimal(12,3)"),
        ("timestamp(6)", "timestamp(6) with time zone"),
        ("timestamp(6) with time zone", "timestamp(6)"),
        ("date", "timestamp(6)"),
        *(
            ("varchar", kind)
            for kind in ("integer", "date", "timestamp(6)", "uuid", "double", "boolean", "decimal(9,2)")
        ),
    ],
)
def test_type_that_bronze_cannot_hold_stops_the_table(project: Recorder, bronze: str, source: str) -> None:
    changed = with_field_readings(project, readings(source), id=bronze)
    message = failure(changed, "run", "--select", "field_readings", run=RUN)
    assert f"field.readings.id is {source} at the source now, and {bronze} in" in message
    assert "rename the column in bronze" in message
    assert not [statement for statement in changed.statements if "merge" in statement]


def test_rows_that_a_policy_hides_are_not_taken_for_deleted(project: Recorder) -> None:
    for policies, finds_deletes in ((None, "True"), ("own rows", "False")):
        hiding = with_field_readings(project, readings(policies=policies))
        texts = statements(hiding, "run", "--select", "field_readings", kind="reconcile")
        [comparison] = [
            statement for statement in texts if "'deleted')" in statement and "create table" in statement
        ]
        assert f"if({finds_deletes} and not _bronze_version._is_delete, 'deleted')" in comparison


def test_old_keys_that_no_delete_would_end_need_a_new_table(project: Recorder) -> None:
    for policies in (None, "own rows"):
        rekeyed = with_field_readings(project, readings(policies=policies))
        rekeyed.comments = {"_op": "Operation of the version. Captured as: old."}
        if not policies:
            assert statements(rekeyed, "run", "--select", "field_readings", kind="reconcile")
            continue
        message = failure(rekeyed, "run", "--select", "field_readings", run=RUN | {"kind": "reconcile"})
        assert "the natural_key was captured as old, and is id now" in message
        assert 'drop table "lake"."bronze"."field_readings", trigger medallion_reconcile' in message
        assert not [statement for statement in rekeyed.statements if "merge" in statement]


def test_settings_of_the_session_are_those_that_the_catalog_asks_for(project: Recorder) -> None:
    entries = [entry("id", "integer", session="set_config('a', 'b', true)"), *readings()[1:]]
    texts = statements(with_field_readings(project, entries), "run", "--select", "field_readings")
    *_, rows = passed_through(texts)
    assert rows.startswith("with session as materialized (select set_config('a', 'b', true))")
    assert 'from session cross join "field"."readings" as source' in rows


def test_too_many_deletes_write_nothing_to_bronze(project: Recorder) -> None:
    answers = ANSWERS | {"as missed": [FOUND | {"deleted": 30}]}
    emptied = Recorder(project.project, COLUMNS, answers)
    message = failure(emptied, "run", "--select", "field_readings", run=RUN | {"kind": "reconcile"})
    assert "field_readings: 30 of 40 rows are gone at the source, more than 20%" in message
    assert not [statement for statement in emptied.statements if "merge" in statement]
