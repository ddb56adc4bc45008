"""Declarations of silver staging. The error of one that is refused names its file and says what to do."""

import re
from typing import Any

import pytest

from medallion.project.declarations import RESERVED, RESERVED_PREFIX, Declaration, declarations
from medallion.project.manifest import ManifestError
from medallion_spark.entity import CHANGED_AT, GIVEN_PREFIX, Entity
from medallion_spark.versions import BOOKKEEPING_TYPES, CARRIED

from ..conftest import Models

SQL_FILE = r"include/dbt/models/silver/staging/stg_bills\.sql: stg_bills "
YAML_FILE = r"include/dbt/models/silver/staging/stg_bills\.yml: stg_bills "


def constraint(kind: str, **fields: Any) -> dict[str, Any]:
    """Return a constraint as dbt's manifest has it."""
    return {"type": kind, "name": None, "expression": None, "columns": []} | fields


def column(data_type: str | None, *constraints: dict[str, Any]) -> dict[str, Any]:
    return {"data_type": data_type, "description": "It's described.", "constraints": [*constraints]}


NOT_NULL = constraint("not_null")
KEY = constraint("primary_key", columns=["bill_id"])
COLUMNS = {"bill_id": column("bigint"), "total": column("decimal(18, 2)")}
SELECT = "select bill_id, total from bronze.bills"


def project(
    select: str = SELECT,
    columns: dict[str, Any] | None = None,
    constraints: list[dict[str, Any]] | None = None,
    meta: dict[str, Any] | None = None,
    natural_key: list[str] | None = None,
    name: str = "stg_bills",
    reads: tuple[str, ...] = ("bills",),
) -> dict[str, Any]:
    """Return a manifest of Spark with one table of silver staging."""
    bronze = {
        model: {
            "name": model,
            "schema": "bronze",
            "resource_type": "model",
            "config": {"materialized": "changelog", "meta": {"natural_key": natural_key or ["bill_id"]}},
            "patch_path": f"medallion://models/bronze/{model}.yml",
        }
        for model in ("bills", "lines")
    }
    staging = {
        "name": name,
        "schema": "silver",
        "resource_type": "model",
        "config": {"materialized": "spark_job", "meta": meta or {}},
        "original_file_path": f"models/silver/staging/{name}.sql",
        "patch_path": f"medallion://models/silver/staging/{name}.yml",
        "depends_on": {"nodes": [*reads]},
        "columns": COLUMNS if columns is None else columns,
        "constraints": [KEY] if constraints is None else constraints,
        "compiled_code": select,
    }
    return {"nodes": bronze | {"staging": staging}}


def test_declarations_of_the_fixture_project() -> None:
    readings = declarations()["readings"]
    assert readings == Declaration(
        name="readings",
        natural_key=["reading_id"],
        key=["reading_id"],
        columns={
            "reading_id": "text", "device_id": "text", "read_at": "timestamp", "amount": "decimal(18,2)",
        },
        descriptions={
            "reading_id": "Reading.", "device_id": "Device that was read.", "read_at": "Time of the reading.",
            "amount": "Amount that was read.",
        },
        projection="reading_id,\n    device_id,\n    read_at,\n    amount",
        alias="readings",
        reads={name: [name] for name in ("reading_id", "device_id", "read_at", "amount")},
        required=[],
        checks={},
        flags={},
        bucketed_by=None,
        buckets=4,
        staging_name="stg_readings",
    )  # fmt: skip


def test_everything_that_may_be_declared(declare: Models) -> None:
    columns = {
        "bill_id": column("text", constraint("primary_key")),
        "line no.": column("smallint", constraint("primary_key"), NOT_NULL),
        "total": column(
            "numeric(10)", NOT_NULL, constraint("check", expression="total >= 0"),
            constraint("check", expression="total <> 7", name="total_is_seven"),
        ),
        "paid_at": column("timestamp with time zone"),
        "note": column("TEXT"),
    }  # fmt: skip
    select = """-- a comment
        select trim(b.bill_id) as bill_id, `line no.`, total, /* from */ to_utc_timestamp(paid_at, 'CET') as paid_at,
            b.note is distinct from 'from é' as note -- the last one
        from bronze.bills as b"""
    manifest = project(
        select,
        columns,
        [constraint("check", name="paid_late", expression="paid_at < timestamp '2030-01-01'")],
        {"flags": {"no_note": "note is null"}, "bucketed_by": "bill_id", "buckets": 8},
        ["bill_id", "line no."],
    )
    declare(manifest, "spark")
    declaration = declarations()["bills"]
    assert declaration.columns == {
        "bill_id": "text", "line no.": "integer", "total": "decimal(10,0)", "paid_at": "timestamptz", "note": "text",
    }  # fmt: skip
    assert (declaration.key, declaration.required) == (["bill_id", "line no."], ["total"])
    assert declaration.checks == {
        "paid_late": "paid_at < timestamp '2030-01-01'", "total_invalid": "total >= 0", "total_is_seven": "total <> 7",
    }  # fmt: skip
    assert (declaration.flags, declaration.bucketed_by, declaration.buckets) == (
        {"no_note": "note is null"}, "bill_id", 8
    )  # fmt: skip
    assert declaration.projection.startswith("trim(b.bill_id) as bill_id, `line no.`")
    assert declaration.projection.endswith("b.note is distinct from 'from é' as note -- the last one")
    assert declaration.alias == "b"
    assert declaration.reads == {name: [name] for name in columns}
    assert Entity.from_json(declaration.json()).identity == declaration.identity


@pytest.mark.parametrize(
    ("condition", "is_coded"),
    [
        ("total in (1, 2)", True),
        ("(total in ('a'))", True),
        ("total not in (1, 2)", False),
        ("total in (1, bill_id)", False),
        ("length(total) in (1, 2)", False),
        ("total in (1, 2) or bill_id = 'x'", False),
        ("total >= 0", False),
    ],
)
def test_column_is_coded_if_its_check_lists_its_values(
    declare: Models, condition: str, is_coded: bool
) -> None:
    columns = {
        "bill_id": column("text", constraint("primary_key")),
        "total": column("text", constraint("check", expression=condition)),
    }
    declare(project("select bill_id, trim(amount) as total from bronze.bills", columns), "spark")
    expected = {"total_invalid": ("total", "amount")} if is_coded else {}
    assert declarations()["bills"].coded_columns() == expected


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no key": ({"constraints": []}, YAML_FILE + "has no primary_key. Name the columns"),
    "unknown key": (
        {"constraints": [constraint("primary_key", columns=["id"])]},
        YAML_FILE + "has id in its primary_key, which it does not declare",
    ),
    "key of other columns": (
        {"natural_key": ["bill_id", "part"]},
        YAML_FILE + "has the primary_key bill_id, computed from bill_id. It must be computed from .* bill_id, part",
    ),
    "key of nothing": (
        {"select": "select 1 as bill_id, total from bronze.bills"},
        YAML_FILE + "has the primary_key bill_id, computed from no column",
    ),
    "undeclared": (
        {"select": "select bill_id, total, note from bronze.bills"},
        YAML_FILE + "does not declare note, which its select returns",
    ),
    "unselected": (
        {"select": "select bill_id from bronze.bills"},
        SQL_FILE + r"does not select total, which include/dbt/models/silver/staging/stg_bills\.yml declares",
    ),
    "no type": (
        {"columns": COLUMNS | {"total": column(None)}}, YAML_FILE + "gives total the data_type None: use one of text,"
    ),
    "unknown type": ({"columns": COLUMNS | {"total": column("money")}}, YAML_FILE + "gives total the data_type money"),
    "too many digits": (
        {"columns": COLUMNS | {"total": column("decimal(39,2)")}}, YAML_FILE + "gives total the data_type decimal"
    ),
    "bookkeeping": ({"columns": COLUMNS | {"_state": column("text")}}, YAML_FILE + "declares _state, a name that"),
    "prefix": ({"columns": COLUMNS | {"_given_x": column("text")}}, YAML_FILE + "declares _given_x, a name that"),
    "upper case": ({"columns": COLUMNS | {"Total": column("text")}}, YAML_FILE + "declares Total: write it in lower"),
    "bucket": ({"meta": {"bucketed_by": "total"}}, YAML_FILE + "is bucketed by total: choose a column of its key"),
    "buckets": ({"meta": {"buckets": 32}}, YAML_FILE + "has 32 buckets: choose 1 to 31"),
    "other constraint": (
        {"constraints": [KEY, constraint("unique", columns=["total"])]},
        YAML_FILE + "has a constraint of the type unique",
    ),
    "not null of another": (
        {"constraints": [KEY, constraint("not_null", columns=["note"])]},
        YAML_FILE + "has a not_null for note, which it does not declare",
    ),
    "nameless check": (
        {"constraints": [KEY, constraint("check", expression="total > 0")]},
        YAML_FILE + "has a check without a name of its own: total > 0. Name it",
    ),
    "two checks of a name": (
        {"columns": COLUMNS | {"total": column("real", *[constraint("check", expression="total > 0")] * 2)}},
        YAML_FILE + "has a check without a name of its own",
    ),
    "flags": ({"meta": {"flags": ["total"]}}, YAML_FILE + "has flags that are no mapping"),
    "two models": (
        {"reads": ("bills", "lines")}, SQL_FILE + "must select from one bronze model, and reads bills, lines"
    ),
    "no model": ({"reads": ()}, SQL_FILE + "must select from one bronze model, and reads none"),
    "other name": ({"name": "stg_invoices"}, r"staging/stg_invoices\.sql: .* is built from bills: name it stg_bills"),
    "not compiled": ({"select": ""}, r"\.sql is not compiled in the manifest: build it with `make manifest`"),
    "no select": ({"select": "select (bill_id, total from bronze.bills"}, SQL_FILE + "has a select that does not pa"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_declaration_that_cannot_be_used_is_refused(
    declare: Models, changes: dict[str, Any], message: str
) -> None:
    declare(project(**changes), "spark")
    with pytest.raises(ManifestError, match=message):
        declarations()


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("total >=", "does not parse: total >="),
        ("", "does not parse"),
        ("total > 0; drop table x", "is no condition over one row"),
        ("sum(total) > 0", r"is no condition over one row: sum\(total\) > 0"),
        ("total > (select 1)", "is no condition over one row"),
        ("row_number() over (order by total) = 1", "is no condition over one row"),
        ("amount > 0", "names amount, which it does not declare"),
    ],
)
@pytest.mark.parametrize("place", ["check", "flag"])
def test_condition_that_is_none_is_refused(
    declare: Models, place: str, expression: str, message: str
) -> None:
    if place == "check":
        columns = COLUMNS | {"total": column("real", constraint("check", expression=expression, name="odd"))}
        declare(project(columns=columns), "spark")
    else:
        declare(project(meta={"flags": {"odd": expression}}), "spark")
    with pytest.raises(ManifestError, match=f"{YAML_FILE}has a {place} odd that {message}"):
        declarations()


@pytest.mark.parametrize(
    ("select", "part"),
    [
        ("select bill_id, sum(total) as total from bronze.bills group by bill_id", "group"),
        (
            "select bill_id, max(total) over (partition by bill_id) as total from bronze.bills",
            "the function max",
        ),
        ("select distinct bill_id, total from bronze.bills", "distinct"),
        (f"{SELECT} where total > 0", "where"),
        (f"{SELECT} order by total", "order"),
        (f"{SELECT} limit 5", "limit"),
        (f"{SELECT} union all {SELECT}", "another statement than one select"),
        (f"{SELECT}; {SELECT}", "another statement than one select"),
        ("delete from bronze.bills", "another statement than one select"),
        ("from bronze.bills select bill_id, total", "another statement than one select"),
        (f"{SELECT} join bronze.lines using (bill_id)", "joins"),
        ("select bill_id, total from bronze.bills, bronze.lines", "joins"),
        (f"select bill_id, total from ({SELECT}) as b", "another table than its bronze model"),
        (f"with b as ({SELECT}) select bill_id, total from b", "another statement than one select"),
        ("select bill_id, total from bronze.lines", "another table than its bronze model"),
        (
            "select bill_id, (select max(total) from bronze.lines) as total from bronze.bills",
            "the function max",
        ),
        ("select bill_id, (select total from bronze.lines) as total from bronze.bills", "SELECT total"),
        ("select bill_id, total from bronze.bills lateral view explode(parts) p as part", "laterals"),
        ("select bill_id, total from bronze.bills tablesample (5 percent)", "sample"),
        ("select bill_id, current_timestamp as total from bronze.bills", "CURRENT_TIMESTAMP"),
        ("select bill_id, current_user as total from bronze.bills", "CURRENT_USER"),
        (
            "select bill_id, timestamp 'now' as total from bronze.bills",
            "'now', which Spark takes for a moment",
        ),
        ("select bill_id, to_date(' Today UTC') as total from bronze.bills", "' Today UTC', which"),
        ("select bill_id, total < 'yesterday' as total from bronze.bills", "'yesterday', which"),
    ],
)
def test_select_that_is_no_projection_is_refused(declare: Models, select: str, part: str) -> None:
    declare(project(select), "spark")
    with pytest.raises(
        ManifestError, match=f"{SQL_FILE}must be a projection .* and has: .*{part}.* silver/marts"
    ):
        declarations()


@pytest.mark.parametrize(
    "call",
    [
        # Functions whose value differs from run to run.
        "now()", "`Now` ()", "total * rand()", "localtimestamp()", "monotonically_increasing_id()", "uniform(1, total)",
        "randstr(3)", "shuffle(parts)", "user()", "unix_timestamp()", "input_file_name()", "spark_partition_id()",
        # Functions that return several rows or columns.
        "explode(parts)", "inline_outer(parts)", "json_tuple(part, 'a')", "stack(2, total, part)", "window(at, 'day')",
        # Functions that need more than one row.
        "sum(total)", "mean(total)", "std(total)", "any(total > 0)", "some(total > 0)", "every(total > 0)",
        "try_sum(total)", "try_avg(total)", "histogram_numeric(total, 5)", "hll_sketch_agg(total)", "row_number()",
        "listagg(part)", "grouping(total)", "rank()",
        # Functions that Spark does not have, or only if somebody added them to a catalog.
        "uper(part)", "lake.system.bucket(4, total)", "identifier('now')",
    ],
)  # fmt: skip
def test_function_that_is_none_of_one_row_is_refused(declare: Models, call: str) -> None:
    name = str(re.findall(r"(\w+)`? ?\(", call)[0]).lower()
    message = f"the function {name}, which is not listed in medallion/project/row_functions.py"
    declare(project(f"select bill_id, {call} as total from bronze.bills"), "spark")
    with pytest.raises(ManifestError, match=f"{SQL_FILE}must be a projection .* and has: {message}"):
        declarations()
    columns = ("at", "part", "parts", "total")
    declare(
        project(
            f"select bill_id, {', '.join(columns)} from bronze.bills",
            COLUMNS | dict.fromkeys(columns, column("text")),
            meta={"flags": {"odd": f"{call} is null"}},
        ),
        "spark",
    )
    with pytest.raises(
        ManifestError, match=rf"{YAML_FILE}has a flag odd that is no condition .*\({message}\)"
    ):
        declarations()


def test_functions_and_operators_of_one_row_are_taken(declare: Models) -> None:
    expression = """case when (total in (1, 2)) then (if(part like any ('a%', 'b'), 1, 2)) else (
        extract(year from (date '2024-01-01')) + size(transform(array(1), x -> (x + 1)))) end + (
        cast(total as decimal(18, 2))) + length(cast(part as varchar(3))) + position('a' in part)
        + if(part like 'now' or part = 'now or never', 1, 0)"""
    declare(project(f"select bill_id, {expression} as total from bronze.bills"), "spark")
    assert declarations()["bills"].reads == {"bill_id": ["bill_id"], "total": ["part", "total"]}


@pytest.mark.parametrize("star", ["*", "b.*", "upper(note)", "bill_id, bill_id"])
def test_columns_without_a_name_of_their_own_are_refused(declare: Models, star: str) -> None:
    declare(project(f"select {star} from bronze.bills as b"), "spark")
    with pytest.raises(ManifestError, match=f"{SQL_FILE}selects .*(name each column|twice)"):
        declarations()


def test_missing_natural_key_is_refused(declare: Models) -> None:
    manifest = project()
    manifest["nodes"]["bills"]["config"]["meta"] = {}
    declare(manifest, "spark")
    with pytest.raises(ManifestError, match=r"models/bronze/bills\.yml: bills has no natural_key"):
        declarations()


def test_all_declarations_are_refused_at_once(declare: Models) -> None:
    manifest = project(constraints=[])
    other = project(reads=(), name="stg_lines")["nodes"]["staging"]
    declare({"nodes": manifest["nodes"] | {"other": other}}, "spark")
    with pytest.raises(ManifestError, match=r"(?s)stg_bills\.yml: .*stg_lines\.sql: "):
        declarations()


def test_names_of_the_spark_job_are_reserved() -> None:
    assert {*BOOKKEEPING_TYPES, *CARRIED, CHANGED_AT} <= RESERVED
    assert GIVEN_PREFIX == RESERVED_PREFIX
