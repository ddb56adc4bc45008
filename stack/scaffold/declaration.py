"""The declaration of a source table: what its files say, what they leave out, and why."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from medallion.names import bronze_names
from medallion.project.declarations import RESERVED, RESERVED_PREFIX
from stack.errors import StackError
from stack.scaffold.catalog import VIEWS, Column, Relation
from stack.scaffold.checks import Term, Untranslatable, translate
from stack.scaffold.kinds import CURSOR_NAMES, CURSOR_TYPES, cursor_name, data_type
from stack.scaffold.names import plain_name
from stack.source import grants

LARGE = 100_000  # rows; a larger table without a cursor is compared once a day
TEMPLATE_MARKS = ("{{", "{%", "{#")


class Refused(StackError):
    """A table whose files can't be written; the message says why, and what to do."""


@dataclass(frozen=True)
class Rule:
    """A check constraint of silver."""

    name: str
    expression: str


@dataclass
class SilverColumn:
    """A column of silver. `advice` is a comment for the reader of the file."""

    name: str
    data_type: str
    description: str
    advice: str
    not_null: bool
    rules: list[Rule] = field(default_factory=list)


@dataclass
class Declaration:
    """All that the files of a table say. `notes` are for the person who runs the command."""

    relation: Relation
    key: list[str]
    cursor: Column | None
    capture: str | None
    columns: list[SilverColumn]
    rules: list[Rule]
    notes: list[str]

    @property
    def description(self) -> str:
        """Return the table's comment, or a neutral sentence."""
        return one_line(self.relation.comment) or f"Rows of `{self.relation.full_name}`."


def has_template(text: str) -> bool:
    """Return whether a text has a mark that begins a template of dbt."""
    return any(mark in text for mark in TEMPLATE_MARKS)


def one_line(comment: str | None) -> str:
    """Return a comment in one line, without marks that dbt would read as a template."""
    text = " ".join((comment or "").split())
    for mark in TEMPLATE_MARKS:
        text = text.replace(mark, "{ " + mark[1])
    return text


def describe(column: Column) -> str:
    """Return the column's comment, or a neutral sentence from its name."""
    if comment := one_line(column.comment):
        return comment
    words = " ".join(one_line(column.name).replace("_", " ").split()) or column.name
    return words[0].upper() + words[1:].rstrip(".") + "."


def find_column(relation: Relation, name: str) -> Column:
    """Return the column of a name. Its case matters only if the names of several columns differ in nothing else.

    Raises Refused if there is no such column.
    """
    exact = [column for column in relation.columns if column.name == name]
    alike = [column for column in relation.columns if column.name.lower() == name.lower()]
    if len(exact or alike) == 1:
        return (exact or alike)[0]
    names = ", ".join(column.name for column in relation.columns)
    raise Refused(f"{relation.full_name} has no column {name}. Its columns: {names}")


def choose_key(relation: Relation, wanted: Sequence[str]) -> list[Column]:
    """Return the columns of the natural key: the wanted ones, or else a unique index without nulls. Raises Refused."""
    if wanted:
        return [find_column(relation, name) for name in wanted]
    columns = {column.position: column for column in relation.columns}
    nullable = []
    for key in relation.keys:
        parts = [columns[position] for position in key.positions]
        if key.is_primary or all(column.not_null for column in parts):
            return parts
        nullable.append(
            f"the unique index {key.name} ({', '.join(column.name for column in parts)}) may hold nulls"
        )
    lack = "a view has no key of its own" if relation.kind in VIEWS else "no primary key, and no unique index"
    reason = "; ".join(nullable) or lack
    raise Refused(
        f"{relation.full_name}: {reason}. Name the columns that identify a row:"
        f" make table TABLE={relation.full_name} KEY=column,column"
    )


def choose_cursor(relation: Relation, wanted: str | None, notes: list[str]) -> Column | None:
    """Return the column by which changed rows are found: the wanted one, or one with a usual name. Raises Refused."""
    if wanted:
        column = find_column(relation, wanted)
        if column.type not in CURSOR_TYPES or not column.may_read:
            raise Refused(
                f"{relation.full_name}.{column.name} is {column.declared}"
                f"{'' if column.may_read else ', and the role may not read it'}. A cursor is a readable"
                " timestamptz, timestamp, date or growing whole number."
            )
        return column
    usable = {
        cursor_name(column.name): column
        for column in reversed(relation.columns)
        if column.type in CURSOR_TYPES and column.may_read
    }
    return next((usable[name] for name in CURSOR_NAMES if name in usable), None)


def describe_cursor(relation: Relation, cursor: Column | None) -> tuple[str | None, list[str]]:
    """Return how a table without a cursor is captured, and what to say about the cursor."""
    if cursor is None:
        capture = "daily" if relation.rows > LARGE else "full"
        when = "once a day" if capture == "daily" else "in every run"
        size = f"about {relation.rows:,.0f} rows" if relation.rows >= 0 else "nobody has counted its rows"
        return capture, [
            f"no cursor found ({size}): the whole table is compared {when}; CURSOR=column names one"
        ]
    notes = []
    if cursor.type == "timestamp":
        notes.append(f"the cursor {cursor.name} has no zone and counts as UTC; cursor_zone names another")
    if not cursor.not_null and relation.kind not in VIEWS:
        notes.append(f"the cursor {cursor.name} may be null; the daily comparison finds such rows")
    if not cursor.is_indexed and relation.kind not in (*VIEWS, "f"):
        notes.append(f"the cursor {cursor.name} has no index of its own: each run reads the whole table")
    return None, notes


def check_rights(relation: Relation, role: str) -> None:
    """Raise Refused with the grants to ask for if the role may not read the table."""
    if not relation.may_use_schema or not any(column.may_read for column in relation.columns):
        raise Refused(
            f"{relation.full_name}: the role {role} may not read it. Let its owner run:\n"
            f"{grants(role, [relation.namespace])}"
        )


def declare(
    relation: Relation,
    role: str,
    key: Sequence[str] = (),
    cursor: str | None = None,
    empty: Iterable[str] = (),
) -> Declaration:
    """Return the declaration of a table.

    empty: columns that hold an empty text, which becomes null in silver. Raises Refused.
    """
    check_rights(relation, role)
    if has_template(relation.full_name):
        raise Refused(f"{relation.full_name}: dbt would read the name as a template. Give the table a view.")
    notes: list[str] = []
    named = bronze_names((column.name, column.is_reserved) for column in relation.columns)
    names = {column.name: name for column, name in zip(relation.columns, named, strict=True)}
    key_columns = choose_key(relation, key)
    cursor_column = choose_cursor(relation, cursor, notes)
    taken = []
    for column in relation.columns:
        if not column.may_read:
            reason = f"the role {role} may not read it"
        elif names[column.name] in RESERVED or names[column.name].startswith(RESERVED_PREFIX):
            reason = "silver has a column of that name itself; a select may give it another one"
        elif has_template(column.name):
            reason = "dbt would read its name as a template"
        else:
            taken.append(column)
            continue
        if column in key_columns:
            raise Refused(f"{relation.full_name}: the key's column {column.name} can't be taken: {reason}.")
        notes.append(f"left out: the column {column.name}, because {reason}")
    capture, cursor_notes = describe_cursor(relation, cursor_column)
    notes += cursor_notes
    terms = {column.name: Term(names[column.name], column.type, data_type(column).name) for column in taken}
    columns = []
    for column in taken:
        kind = data_type(column)
        not_null = column.not_null and column not in key_columns
        if not_null and column.name in empty:
            not_null = False
            notes.append(
                f"left out: not null of {column.name}, which has empty texts; they are null in silver"
            )
        if kind.advice:
            notes.append(f"{column.name} is text: {kind.advice}")
        columns.append(SilverColumn(names[column.name], kind.name, describe(column), kind.advice, not_null))
    declaration = Declaration(
        relation, [names[column.name] for column in key_columns], cursor_column, capture, columns, [], notes
    )
    add_rules(declaration, taken, terms)
    return declaration


def add_rules(declaration: Declaration, taken: Sequence[Column], terms: dict[str, Term]) -> None:
    """Add the check constraints that Spark reads like PostgreSQL, and note the others."""
    constraints = [
        (check.name, check.definition, terms if check.is_valid else None)
        for check in declaration.relation.checks
    ]
    constraints += [
        (f"{terms[column.name].name}_invalid", definition, {"value": terms[column.name]})
        for column in taken
        for definition in column.domain_checks
    ]
    by_name = {column.name: column for column in declaration.columns}
    used: set[str] = set()
    for source_name, definition, known in constraints:
        try:
            if known is None:
                raise Untranslatable("it is not validated at the source")
            translation = translate(definition, known)
            if has_template(translation.expression):
                raise Untranslatable("dbt would read it as a template")
        except Untranslatable as reason:
            declaration.notes.append(f"left out: the constraint {source_name}: {definition}: {reason}")
            continue
        name = base = plain_name(source_name) or "rule"
        number = 1
        while name in used:
            number += 1
            name = f"{base}_{number}"
        used.add(name)
        rules = by_name[translation.columns[0]].rules if len(translation.columns) == 1 else declaration.rules
        rules.append(Rule(name, translation.expression))
