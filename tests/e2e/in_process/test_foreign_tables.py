"""Tables of two schemas other than the sample shop's. `make tables` writes their models; a gold model is added.

Silver must equal the source column by column, and gold in PostgreSQL must equal a query on the source.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from medallion.project import fingerprint, manifest
from medallion.project.declarations import Declaration, declarations
from medallion.run.window import RunKind, Window
from stack.build import PARSE
from stack.scaffold.tables import write_tables
from support.dbt_project import copy_project
from support.dbt_runner import Dbt

from ..conftest import Stack
from .pipeline import InProcessPipeline

SOURCES = Path(__file__).parents[2] / "support" / "sources"
SCHEMAS = {"clinic": ["country", "patient", "visit"], "ledger": ["account", "entry"]}
MODELS = [model for models in SCHEMAS.values() for model in models]
# Name of a table or column in the lake -> its name at the source, if that differs.
NAMES = {"patient": "Patient", "full name": "Full Name", "order_2": "Order"}
# Columns that silver has as text, but not the text of PostgreSQL's `::text` -> the expression for silver's text.
AS_TEXT = {
    "home": "to_json({})::text",
    "tags": "to_json({})::text",
    "extra": "public.hstore_to_json({})::text",
    "photo": "encode({}, 'hex')",
    "fee": "{}::numeric::text",
    "ip": "to_jsonb({}) #>> '{{}}'",
    "code": "rtrim({}::text)",
}
# Type of a silver column -> the condition for the values that it can hold. Other types can hold all values.
KEPT = {
    "date": "{} between '0001-01-01' and '9999-12-31'",
    "timestamp": "{} between '0001-01-01' and '9999-12-31 23:59:59.999999'",
    "timestamptz": "{} between '0001-01-01 00:00+00' and '9999-12-31 23:59:59.999999+00'",
    "decimal": "{} <> 'NaN'",
}
GOLD = "visits_by_blood"
GOLD_SQL = """
    select
        coalesce(patient.blood, 'unknown') as blood,
        count(*) as visits,
        count(distinct visit.patient_id) as patients,
        sum(visit.cost) as cost,
        min(patient.balance) as least_balance,
        max(visit.visited_on) as last_visit
    from {{ ref('stg_visit') }} as visit
    inner join {{ ref('stg_patient') }} as patient
        on patient.patient_id = visit.patient_id and patient._state = 'current'
    where visit._state = 'current'
    group by coalesce(patient.blood, 'unknown')
"""
GOLD_TYPES = {
    "blood": "varchar",
    "visits": "bigint",
    "patients": "bigint",
    "cost": "decimal(38,2)",
    "least_balance": "decimal(12,4)",
    "last_visit": "date",
}
GOLD_AT_THE_SOURCE = """
    select
        coalesce(blood::text, 'unknown'), count(*), count(distinct patient_id), sum(cost), min(balance), max(visited_on)
    from clinic.visit inner join clinic."Patient" using (patient_id) group by 1 order by 1
"""
CHANGES = """
    update clinic."Patient" set balance = -999.9999, "Full Name" = 'Ada', tags = '{x}', updated_at = now()
        where patient_id = '00000000-0000-0000-0000-000000000001';
    insert into clinic."Patient" (patient_id, "Full Name", born_on)
        values ('00000000-0000-0000-0000-000000000004', 'New', '2024-05-05');
    update clinic."Patient" set insured_until = '-infinity', blood = 'B', updated_at = now()
        where patient_id = '00000000-0000-0000-0000-000000000002';
    update clinic."Patient" set rebate = 1.125, seen_at = now(), updated_at = now()
        where patient_id = '00000000-0000-0000-0000-000000000005';
    insert into clinic.visit values (2, 3, '00000000-0000-0000-0000-000000000002', '2024-03-01', 1.5, now());
    delete from clinic.visit where visit_no = 2;
    update clinic.visit set clinic_no = 11, modified_at = now() where clinic_no = 12;
    delete from clinic.country where code = 'fr';
    update clinic.country set name = 'Deutschland' where code = 'de';
    update ledger.account set amount = amount * 3, last_update = timezone('UTC', now()) where bank = 'north';
    insert into ledger.entry values ('south', 2, 1, '2024-02-29 12:00:00', 0.5, 'NaN', timezone('UTC', now()));
"""


class ForeignTables:
    """A dbt project with the models of the two schemas and a gold model, which the pipeline runs."""

    def __init__(self, stack: Stack, pipeline: InProcessPipeline, folder: Path) -> None:
        """Write the project, and let the pipeline use it."""
        self.stack, self.pipeline = stack, pipeline
        models = folder / "models"
        copy_project(folder, None)
        for layer in ("bronze", "silver/staging", "gold"):
            (models / layer).mkdir(parents=True)
        for schema in SCHEMAS:
            write_tables(stack.settings, schema, overwrite=False, models=models)
        columns = [
            {"name": name, "data_type": kind, "description": f"The {name}."}
            for name, kind in GOLD_TYPES.items()
        ]
        model = {"name": GOLD, "description": "Visits by blood group.", "columns": columns}
        model["config"] = {"unique_key": ["blood"], "contract": {"enforced": True}}
        (models / "gold" / f"{GOLD}.sql").write_text(GOLD_SQL)
        (models / "gold" / f"{GOLD}.yml").write_text(json.dumps({"models": [model]}))
        pipeline.dbt.manifest("trino")
        pipeline.dbt.invoke("spark", *PARSE["spark"])

    @property
    def declared(self) -> dict[str, Declaration]:
        """The declarations of silver staging."""
        return declarations()

    def run(self, run_id: str) -> None:
        """Run the pipeline over all changes until now."""
        now = datetime.now(UTC)
        self.pipeline.run(run_id, RunKind.SCHEDULED, Window(now - timedelta(hours=1), now))

    def compare(self) -> dict[str, Any]:
        """Return the columns of silver, and the gold table, that differ from the source: name -> both sides' values."""
        differences = {}
        gold = [
            self.stack.query_gold(f"select {', '.join(GOLD_TYPES)} from gold.{GOLD} order by 1"),
            self.stack.query_source(GOLD_AT_THE_SOURCE),
        ]
        if gold[0] != gold[1]:
            differences[GOLD] = gold
        for schema, models in SCHEMAS.items():
            for model in models:
                declaration = self.declared[model]
                values = ", ".join(
                    [*map(in_source, declaration.columns, declaration.columns.values()), lost(declaration)]
                )
                names = [*declaration.columns, "_flags"]
                quoted = ", ".join(f'"{name}"' for name in names)
                source = self.stack.query_source(f'select {values} from {schema}."{NAMES.get(model, model)}"')
                silver = self.stack.query_trino(
                    f"select {quoted} from silver.stg_{model} where _state = 'current'"
                )
                key = [names.index(name) for name in declaration.key]
                for rows in (source, silver):
                    rows.sort(key=lambda row: [str(row[number]) for number in key])
                for number, name in enumerate(names):
                    pair = [[comparable(row[number]) for row in rows] for rows in (silver, source)]
                    if pair[0] != pair[1]:
                        differences[f"{model}.{name}"] = pair
        return differences


def is_kept(name: str, data_type: str) -> str | None:
    """Return an SQL condition for the source's values that silver can hold, or None if it can hold all of them."""
    condition = KEPT.get(data_type.partition("(")[0])
    return condition and condition.format(f'"{NAMES.get(name, name)}"')


def in_source(name: str, data_type: str) -> str:
    """Return an SQL expression on the source for the value that silver must have in a column."""
    column = f'"{NAMES.get(name, name)}"'
    if condition := is_kept(name, data_type):
        return f"case when {condition} then {column} end"
    if data_type != "text":
        return column
    # Silver removes blanks around text, and makes empty text null.
    return f"nullif(btrim({AS_TEXT.get(name, '{}::text').format(column)}), '')"


def lost(declaration: Declaration) -> str:
    """Return an SQL expression on the source for the flags `unparsable_…` of the values that silver cannot hold."""
    flags = [
        f"case when not ({condition}) then 'unparsable_{name}' end"
        for name, data_type in sorted(declaration.columns.items())
        if (condition := is_kept(name, data_type))
    ]
    return f"array_remove(array[{', '.join(flags)}]::text[], null)"


def comparable(value: Any) -> Any:
    """Return a value in a form that is the same for both database clients."""
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC).isoformat()
    if isinstance(value, str) and value.startswith(("{", "[")) and '"' in value:
        return json.loads(value)
    return str(value) if isinstance(value, float | Decimal) else value


@pytest.fixture(scope="module")
def foreign(
    stack: Stack, pipeline: InProcessPipeline, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ForeignTables]:
    """Create the schemas at the source, empty the lake and write the project; drop schemas and tables afterwards."""
    for schema in SCHEMAS:
        stack.query_source((SOURCES / f"{schema}.sql").read_text())
        stack.query_source(
            f"grant usage on schema {schema} to source_reader;"
            f" grant select on all tables in schema {schema} to source_reader"
        )
    pipeline.forget("bronze", "silver", "gold")
    folder = tmp_path_factory.mktemp("foreign")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprint, "DBT_PROJECT", folder / "project")
        patch.setattr(manifest, "MANIFESTS", folder / "parsed")
        patch.setattr(pipeline, "dbt", Dbt(pipeline.environment, folder / "parsed", folder / "project"))
        yield ForeignTables(stack, pipeline, folder / "project")
    for schema in SCHEMAS:
        stack.query_source(f"drop schema {schema} cascade")
    pipeline.forget("bronze", "reconciled", "silver", "gold")


def test_silver_and_gold_equal_the_source(
    stack: Stack, pipeline: InProcessPipeline, foreign: ForeignTables
) -> None:
    assert sorted(foreign.declared) == sorted(MODELS)
    foreign.run("first")
    assert foreign.compare() == {}
    stack.query_source(CHANGES)
    foreign.run("changes")
    # Only a reconciliation finds deleted rows and changed keys in a table that is read by its cursor.
    assert {name.partition(".")[0] for name in foreign.compare()} == {"visit", GOLD}
    pipeline.run("compared", RunKind.RECONCILE, tasks=[f"bronze.{model}" for model in MODELS])
    foreign.run("deletes")
    assert foreign.compare() == {}
    assert stack.query_trino("select sum(quarantined) from silver.entity_accounts") == [(0,)]
    # At first one patient has values that silver cannot hold, after the changes two have.
    counts = stack.query_trino(
        "select unparsable_latest from silver.entity_accounts where entity = 'patient' order by batch limit 2"
    )
    assert counts == [(1,), (2,)]
