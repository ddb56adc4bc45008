"""Tables of two schemas that are no shop, declared by `make tables`, from the source to a gold table of their own.

Silver equals the source column by column, and gold in PostgreSQL equals a query on the source.
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
# Names at the source that differ from those in bronze.
NAMES = {"patient": "Patient", "full name": "Full Name", "order_2": "Order"}
# Silver columns whose text differs from PostgreSQL's `::text`, with the expression for it.
AS_TEXT = {
    "home": "to_json({})::text",
    "tags": "to_json({})::text",
    "extra": "public.hstore_to_json({})::text",
    "photo": "encode({}, 'hex')",
    "fee": "{}::numeric::text",
    "ip": "to_jsonb({}) #>> '{{}}'",
    "code": "rtrim({}::text)",
}
# Which values a type of silver holds; of the types that are not here it holds all.
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
    """The tables and a plain gold model in a dbt project of their own, which the pipeline runs."""

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
        """Do a run of all that changed until now."""
        now = datetime.now(UTC)
        self.pipeline.run(run_id, RunKind.SCHEDULED, Window(now - timedelta(hours=1), now))

    def compare(self) -> dict[str, Any]:
        """Return, by column and for the gold table, our values beside those of the source, if they differ."""
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
    """Return a condition on the source: silver holds the column's value; None if it holds each."""
    condition = KEPT.get(data_type.partition("(")[0])
    return condition and condition.format(f'"{NAMES.get(name, name)}"')


def in_source(name: str, data_type: str) -> str:
    """Return a column of silver as an expression on the source."""
    column = f'"{NAMES.get(name, name)}"'
    if condition := is_kept(name, data_type):
        return f"case when {condition} then {column} end"
    if data_type != "text":
        return column
    # Silver strips text, and takes empty text for null.
    return f"nullif(btrim({AS_TEXT.get(name, '{}::text').format(column)}), '')"


def lost(declaration: Declaration) -> str:
    """Return an expression on the source for the flags of the values that silver does not hold."""
    flags = [
        f"case when not ({condition}) then 'unparsable_{name}' end"
        for name, data_type in sorted(declaration.columns.items())
        if (condition := is_kept(name, data_type))
    ]
    return f"array_remove(array[{', '.join(flags)}]::text[], null)"


def comparable(value: Any) -> Any:
    """Return a value in a form that is equal for both clients."""
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC).isoformat()
    if isinstance(value, str) and value.startswith(("{", "[")) and '"' in value:
        return json.loads(value)
    return str(value) if isinstance(value, float | Decimal) else value


@pytest.fixture(scope="module")
def foreign(
    stack: Stack, pipeline: InProcessPipeline, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ForeignTables]:
    """Create the schemas at the source, and the project in an empty lake; remove all of it afterwards."""
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
    # Only the daily comparison finds the deletes and changed keys of a table with a cursor.
    assert {name.partition(".")[0] for name in foreign.compare()} == {"visit", GOLD}
    pipeline.run("compared", RunKind.RECONCILE, tasks=[f"bronze.{model}" for model in MODELS])
    foreign.run("deletes")
    assert foreign.compare() == {}
    assert stack.query_trino("select sum(quarantined) from silver.entity_accounts") == [(0,)]
    # One patient whose values are not all held, then two.
    counts = stack.query_trino(
        "select unparsable_latest from silver.entity_accounts where entity = 'patient' order by batch limit 2"
    )
    assert counts == [(1,), (2,)]
