"""`make table` and `make tables`: write the models of source tables."""

import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from psycopg2 import sql
from rich.progress import track
from rich.table import Column as Heading
from rich.table import Table

from medallion.names import staging_table
from stack.build import DBT
from stack.console import console, table_console
from stack.errors import StackError
from stack.scaffold.catalog import Relation, read_relations, similar_tables
from stack.scaffold.declaration import Declaration, Refused, declare
from stack.scaffold.files import read_models, render, write_files
from stack.scaffold.kinds import FREE_TEXT
from stack.scaffold.names import model_name
from stack.settings import Settings
from stack.source import Source

MODELS = DBT / "models"
NEXT = """\
Next: read the files, then{enter}
  make manifest && make lint
  make run          (or `make trigger`, if the pipeline has run before)"""
IDENTIFIER = r'"((?:[^"]|"")+)"|([^".]+)'
LARGE = 1_000_000  # rows; a larger table is not searched for empty texts


class Exists(StackError):
    """The files of a table are there already."""


@dataclass(frozen=True)
class Written:
    """The files that were written for a table."""

    model: str
    files: list[str]
    declaration: Declaration


def parse_table(text: str) -> tuple[str, str]:
    """Return schema and table of `schema.name`; a part with a dot is in double quotes. Raises StackError."""
    match = re.fullmatch(rf"(?:{IDENTIFIER})\.(?:{IDENTIFIER})", text)
    if not match:
        raise StackError(
            f"TABLE={text} is no schema.name, such as billing.invoices; a name with a dot is in double quotes:"
            ' TABLE=\'"my.schema"."My Table"\''
        )
    quoted_schema, schema, quoted_name, name = match.groups()
    return (
        schema or quoted_schema.replace('""', '"'),
        name or quoted_name.replace('""', '"'),
    )


def empty_texts(source: Source, relation: Relation) -> list[str]:
    """Return the text columns without nulls that hold an empty text, or all of them if the search would take long."""
    columns = [
        column.name
        for column in relation.columns
        if column.not_null and column.may_read and column.type in FREE_TEXT
    ]
    if not columns or relation.kind == "f" or relation.rows > LARGE:
        return columns
    tests = [
        sql.SQL("coalesce(bool_or({}::text ~ '^\\s*$'), false)").format(sql.Identifier(name))
        for name in columns
    ]
    statement = sql.SQL("select {} from {}").format(
        sql.SQL(", ").join(tests), sql.Identifier(relation.namespace, relation.name)
    )
    try:
        [row] = source.query(statement)
    except psycopg2.Error:  # the session's time limit ends a long search
        return columns
    return [name for name, is_empty in zip(columns, row, strict=True) if is_empty]


class Scaffold:
    """Writes the files of tables into one project."""

    def __init__(self, source: Source, models: Path = MODELS, overwrite: bool = False) -> None:
        self.source = source
        self.models = models
        self.overwrite = overwrite
        self.known = read_models(models)

    def write(self, relation: Relation, key: Sequence[str] = (), cursor: str | None = None) -> Written:
        """Write the files of a table. Raises Exists if they are there, Refused if they can't be written."""
        name = model_name(relation.namespace, relation.name, self.known)
        if name is None:
            raise Refused(
                f"{relation.full_name}: no model can have this name. Give the table a view with a name of letters,"
                " digits and underscores."
            )
        if name in self.known and not self.overwrite:
            raise Exists(
                f"{relation.full_name}: the project has {self.models / 'bronze' / name}.sql already, and nothing was"
                " changed; FORCE=1 writes its files again"
            )
        draft = declare(relation, self.source.role, key, cursor)
        if any(column.not_null for column in draft.columns):
            draft = declare(relation, self.source.role, key, cursor, empty_texts(self.source, relation))
        files = render(draft, name)
        write_files(self.models, files, self.overwrite)
        self.known[name] = (relation.namespace, relation.name)
        self.known[staging_table(name)] = None
        return Written(name, [*files], draft)


def find_relation(source: Source, schema: str, name: str) -> Relation:
    """Return a table of the source. Raises StackError that names similar tables, or else those that exist."""
    if relations := read_relations(source, schema, name):
        return relations[0]
    alike = similar_tables(source, name)
    others = [relation.full_name for relation in read_relations(source, schema)]
    known = f"Perhaps: {', '.join(alike)}" if alike else f"The schema has: {', '.join(others[:30])}"
    if not alike and not others:
        known = f"Its schemas: {', '.join(schemas(source))}"
    raise StackError(
        f"The database {source.database} at {source.address} has no table {schema}.{name}. {known}"
    )


def find_relations(source: Source, schema: str) -> list[Relation]:
    """Return the tables of a schema. If it has none, raises StackError that names the schemas with tables."""
    # Leave out partitions, because their rows belong to the partitioned table.
    relations = [relation for relation in read_relations(source, schema) if not relation.is_partition]
    if not relations:
        raise StackError(
            f"The database {source.database} at {source.address} has no table in the schema {schema}."
            f" Its schemas: {', '.join(schemas(source))}"
        )
    return relations


def check_schema(settings: Settings, schema: str) -> None:
    """Check that a schema of the source has tables. Raises StackError as `find_relations` does."""
    with closing(Source(settings)) as source:
        find_relations(source, schema)


def schemas(source: Source) -> list[str]:
    """Return the schemas of the source that hold tables."""
    rows = source.query(
        "select distinct relnamespace::regnamespace::text from pg_class where relkind in ('r', 'p', 'v', 'm', 'f')"
        " and relnamespace::regnamespace::text !~ '^(pg_|information_schema)' order by 1"
    )
    return [name for (name,) in rows]


def write_table(
    settings: Settings,
    table: str,
    key: Sequence[str] = (),
    cursor: str | None = None,
    overwrite: bool = False,
    models: Path = MODELS,
) -> None:
    """Write the files of one table, and say what was left out. Raises StackError."""
    schema, name = parse_table(table)
    with closing(Source(settings)) as source:
        scaffold = Scaffold(source, models, overwrite)
        written = scaffold.write(find_relation(source, schema, name), key, cursor)
    declaration = written.declaration
    lines = [
        f"{declaration.relation.full_name} → {written.model}",
        f"  key: {', '.join(declaration.key)}",
        f"  cursor: {show_cursor(declaration)}",
        *(f"  {note}" for note in declaration.notes),
        *(f"  wrote {scaffold.models / file}" for file in written.files),
        NEXT.format(enter=enter(models)),
    ]
    console.print("\n".join(lines), markup=False)


def enter(models: Path) -> str:
    """Return a line with `cd` into the project of a folder of models; empty if it is this project."""
    return "" if models == MODELS else f"\n  cd {models.parents[2]}"


def show_cursor(declaration: Declaration) -> str:
    """Return the cursor, or how the table is captured without one."""
    return declaration.cursor.name if declaration.cursor else f"none (capture: {declaration.capture})"


def write_tables(settings: Settings, schema: str, overwrite: bool, models: Path = MODELS) -> None:
    """Write the files of each table of a schema, and show a summary. Raises StackError if a table failed."""
    outcomes: dict[str, Written | StackError] = {}
    with closing(Source(settings)) as source:
        scaffold = Scaffold(source, models, overwrite)
        relations = find_relations(source, schema)
        for relation in track(relations, f"Tables of {schema}", console=table_console, transient=True):
            try:
                outcomes[relation.name] = scaffold.write(relation)
            except StackError as error:
                outcomes[relation.name] = error
    show_summary(schema, outcomes)
    failed = [
        error
        for error in outcomes.values()
        if isinstance(error, StackError) and not isinstance(error, Exists)
    ]
    count = sum(isinstance(outcome, Written) for outcome in outcomes.values())
    console.print(
        f"Wrote the files of {count} of {len(relations)} tables into {scaffold.models}.", markup=False
    )
    if count:
        console.print(NEXT.format(enter=enter(models)), markup=False)
    if failed:
        raise StackError(
            f"{len(failed)} of {len(relations)} tables were not done in {models.parents[2]}:\n"
            + "\n".join(f"  {error}" for error in failed)
        )


def show_summary(schema: str, outcomes: Mapping[str, Written | StackError]) -> None:
    """Print a row per table, then what was left out."""
    table = Table(
        *(Heading(name, overflow="fold") for name in ("table", "model", "key", "cursor", "columns")),
        title=schema,
    )
    notes = []
    for name, outcome in outcomes.items():
        if isinstance(outcome, Written):
            declaration = outcome.declaration
            row = [
                outcome.model,
                ", ".join(declaration.key),
                show_cursor(declaration),
                str(len(declaration.columns)),
            ]
            notes += [f"{name}: {note}" for note in declaration.notes]
        else:
            row = ["there already" if isinstance(outcome, Exists) else "not done, see below", "", "", ""]
        table.add_row(*(cell.replace("[", "\\[") for cell in (name, *row)))
    table_console.print(table)
    for note in notes:
        console.print(f"  {note}", markup=False)
