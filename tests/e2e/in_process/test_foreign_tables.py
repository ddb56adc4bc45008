"""Tables of two schemas that are no shop, declared by `make tables`: silver equals the source, column by column."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from medallion.project import declarations as module
from medallion.project import manifest
from medallion.project.declarations import Declaration
from stack.build import PARSE
from stack.environment import environment
from stack.scaffold.tables import write_tables
from support.dbt_project import copy_project
from support.dbt_runner import Dbt, run_context

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
CHANGES = """
    update clinic."Patient" set balance = -999.9999, "Full Name" = 'Ada', tags = '{x}', updated_at = now()
        where patient_id = '00000000-0000-0000-0000-000000000001';
    insert into clinic."Patient" (patient_id, "Full Name", born_on)
        values ('00000000-0000-0000-0000-000000000004', 'New', '2024-05-05');
    delete from clinic.visit where visit_no = 2;
    update clinic.visit set clinic_no = 11, modified_at = now() where clinic_no = 12;
    delete from clinic.country where code = 'fr';
    update clinic.country set name = 'Deutschland' where code = 'de';
    update ledger.account set amount = amount * 3, last_update = timezone('UTC', now()) where bank = 'north';
    insert into ledger.entry values ('south', 2, 1, '2024-02-29 12:00:00', 0.5, 'NaN', timezone('UTC', now()));
"""


class ForeignTables:
    """A dbt project of the foreign tables, and the steps by which a run brings them to silver."""

    def __init__(self, stack: Stack, pipeline: InProcessPipeline, folder: Path) -> None:
        self.stack, self.pipeline = stack, pipeline
        copy_project(folder / "project", None)
        models = folder / "project" / "models"
        for layer in ("bronze", "silver/staging"):
            (models / layer).mkdir(parents=True)
        for schema in SCHEMAS:
            write_tables(stack.settings, schema, overwrite=False, models=models)
        self.dbt = Dbt(environment(stack.settings), folder / "parsed", folder / "project")
        self.dbt.invoke("spark", *PARSE["spark"])
        self.declared = self.read_declarations(folder / "parsed")

    @staticmethod
    def read_declarations(manifests: Path) -> dict[str, Declaration]:
        """Return the declarations of the manifests in a folder."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(manifest, "MANIFESTS", manifests)
            return module.declarations()

    def run(self, kind: str) -> None:
        """Capture and build all tables like a run of the kind."""
        context = run_context(
            self.stack.draw_batch(),
            kind=kind,
            tested_rows="all",
            extract_from="1900-01-01 00:00:00",
            extract_to="2100-01-01 00:00:00",
        )
        success, output = self.dbt.run("trino", MODELS, context)
        assert success, output
        self.pipeline.build([*self.declared.values()], context)

    def compare(self) -> dict[str, Any]:
        """Return, by column, the values of silver beside those of the source, if they differ."""
        differences = {}
        for schema, models in SCHEMAS.items():
            for model in models:
                declaration = self.declared[model]
                names = [*declaration.columns]
                values = ", ".join(map(in_source, names, declaration.columns.values()))
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


def in_source(name: str, data_type: str) -> str:
    """Return a column of silver as an expression on the source."""
    column = f'"{NAMES.get(name, name)}"'
    if data_type != "text":
        return column
    # Silver strips text, and takes empty text for null.
    return f"nullif(btrim({AS_TEXT.get(name, '{}::text').format(column)}), '')"


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
    pipeline.forget("bronze", "silver")
    yield ForeignTables(stack, pipeline, tmp_path_factory.mktemp("foreign"))
    for schema in SCHEMAS:
        stack.query_source(f"drop schema {schema} cascade")
    pipeline.forget("bronze", "reconciled", "silver")


def test_silver_equals_the_source_column_by_column(stack: Stack, foreign: ForeignTables) -> None:
    assert sorted(foreign.declared) == sorted(MODELS)
    foreign.run("ranged")
    assert foreign.compare() == {}
    stack.query_source(CHANGES)
    foreign.run("ranged")
    # Only the daily comparison finds the deletes and changed keys of a table with a cursor.
    assert {name.partition(".")[0] for name in foreign.compare()} == {"visit"}
    foreign.run("reconcile")
    assert foreign.compare() == {}
    assert stack.query_trino("select sum(quarantined) from silver.entity_accounts") == [(0,)]
