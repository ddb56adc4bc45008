"""Read the declarations of silver staging from its dbt models: key, types, constraints, flags and select.

This needs only the manifest, no engine. `python -m medallion.project.declarations` checks all declarations.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from medallion.names import BRONZE, STAGING_PREFIX
from medallion.project.manifest import (
    SPARK_MATERIALIZATION,
    ManifestError,
    cached_per_manifest,
    manifest,
    table_of,
)
from medallion.project.row_functions import ROW_FUNCTIONS

if TYPE_CHECKING:
    from sqlglot.expressions import Expr, Select

# Spelling of a data type -> the name that this package and the Spark job use for it.
DATA_TYPES = {
    "text": "text",
    "varchar": "text",
    "string": "text",
    "smallint": "integer",
    "int": "integer",
    "integer": "integer",
    "bigint": "bigint",
    "real": "real",
    "double": "double",
    "double precision": "double",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamp",
    "timestamp without time zone": "timestamp",
    "timestamptz": "timestamptz",
    "timestamp with time zone": "timestamptz",
}
# Data types that have another name in Iceberg.
ICEBERG_TYPES = {"text": "string", "integer": "int", "bigint": "long", "real": "float"}
IDENTITY = "medallion.identity"  # table property with the `identity` of the declaration that built the table
# Bronze keeps here, as JSON, the values that do not fit into the type of their own column.
UNKEPT = "_unkept"
# Texts that Spark replaces by the time of the run when it casts them to a date or time. `due < 'now'` casts, too.
CLOCK = re.compile(r"\s*(now|today|tomorrow|yesterday)(\s+\S+)?\s*", re.IGNORECASE)
# Columns that the Spark job adds to its tables or uses while it works.
RESERVED = {
    "_changed_at", "_raw_key", "_key", "_has_key", "_rules", "_flags", "_state", "_op", "_hash", "_row", "_batch",
    "_version_batch", "_extracted_at", "_first_extracted_at", "_is_new", "_is_delete", "_is_rejected", "_is_gone",
    "_is_superseded", "_is_change", "_decides", "_decider", "_silver_before", "_winner", UNKEPT,
}  # fmt: skip
RESERVED_PREFIX = "_given_"  # columns with this prefix hold values before their conversion
BUCKETS = 4
# The Spark job collects the numbers of the buckets that a run touches as bits of a 32-bit integer.
MAX_BUCKETS = 31


@dataclass(frozen=True)
class Declaration:
    """A table of silver staging.

    name: the bronze model. natural_key: the columns of bronze that identify a row. key: the table's primary key.
    columns: name -> data type, a value of DATA_TYPES or decimal(p,s). descriptions: name -> description.
    projection: the text of the select between `select` and `from`, in Spark SQL. alias: the bronze table's name in it.
    reads: column -> the columns of bronze that it is computed from. required: columns that may not be null, besides
    the key. checks: rule -> condition that an accepted row meets. flags: name -> condition that marks a doubtful row.
    bucketed_by: the column of the key that spreads the table over `buckets` partitions; None: no partitions.
    staging_name: the name of the table and of its model.
    """

    name: str
    natural_key: list[str]
    key: list[str]
    columns: dict[str, str]
    descriptions: dict[str, str]
    projection: str
    alias: str
    reads: dict[str, list[str]]
    required: list[str]
    checks: dict[str, str]
    flags: dict[str, str]
    bucketed_by: str | None
    buckets: int
    staging_name: str

    @property
    def identity(self) -> str:
        """Return keys and partitions as one text, which the Spark job stores in the table's properties."""
        return json.dumps([self.natural_key, self.key, self.bucketed_by, self.bucketed_by and self.buckets])

    def coded_columns(self) -> dict[str, tuple[str, str]]:
        """Return the coded columns, whose check lists all allowed values.

        Rule -> the column, and the column of bronze that it is computed from. Columns that are computed from several
        columns of bronze are left out.
        """
        from sqlglot import exp, parse_one

        coded = {}
        for rule, condition in self.checks.items():
            tree = parse_one(condition, dialect="spark").unnest()
            if (
                isinstance(tree, exp.In)
                and isinstance(tree.this, exp.Column)
                and tree.expressions
                and all(isinstance(value, exp.Literal) for value in tree.expressions)
            ):
                column = tree.this.name.lower()
                if len(reads := [name for name in self.reads[column] if name != UNKEPT]) == 1:
                    coded[rule] = (column, reads[0])
        return coded

    def fits(self, columns: dict[str, str], properties: dict[str, str]) -> bool:
        """Return whether a table with these columns, in Iceberg's types, and these properties fits the declaration."""
        declared = {
            name: ICEBERG_TYPES.get(data_type, data_type.replace(",", ", "))
            for name, data_type in self.columns.items()
        }
        return {name: columns[name] for name in columns if name not in RESERVED} == declared and (
            # Tables of earlier releases lack the property; they count as fitting.
            properties.get(IDENTITY, self.identity) == self.identity
        )

    def json(self) -> str:
        """Return the declaration in one line of JSON, as the Spark job takes it."""
        return json.dumps(asdict(self))


def columns_read() -> dict[str, set[str]]:
    """Return, for each bronze model, the columns of the source that silver staging reads, by their names in bronze."""
    return {
        name: set[str]().union(*declaration.reads.values()) - {UNKEPT}
        for name, declaration in declarations().items()
    }


@cached_per_manifest("spark")
def declarations() -> dict[str, Declaration]:
    """Return the declarations of silver staging, by bronze model.

    Raises ManifestError that names the file, and what to do, for each declaration that can't be used.
    """
    nodes = manifest("spark")["nodes"]
    declared, errors = {}, []
    for node in sorted(nodes.values(), key=lambda node: str(node["name"])):
        if node["resource_type"] != "model" or node["config"]["materialized"] != SPARK_MATERIALIZATION:
            continue
        try:
            declaration = _Reader(node, nodes).read()
        except ManifestError as error:
            errors.append(str(error))
        else:
            declared[declaration.name] = declaration
    if errors:
        raise ManifestError("\n".join(errors))
    return declared


class _Reader:
    """Reads the declaration of one model."""

    def __init__(self, node: dict[str, Any], nodes: dict[str, dict[str, Any]]) -> None:
        self.node, self.nodes = node, nodes
        self.sql_file = f"include/dbt/{node['original_file_path']}"
        self.yaml_file = _yaml_file(node)
        self.meta: dict[str, Any] = node["config"]["meta"]

    def read(self) -> Declaration:
        """Return the declaration. Raises ManifestError if it can't be used."""
        bronze = self.bronze_model()
        natural_key = _names(bronze["config"]["meta"].get("natural_key"))
        if not natural_key:
            raise ManifestError(
                f"{_yaml_file(bronze)}: {bronze['name']} has no natural_key. Name the columns that identify a row of"
                " the source: config: {meta: {natural_key: [...]}}"
            )
        if self.node["name"] != f"{STAGING_PREFIX}{bronze['name']}":
            raise self.refusal(
                self.sql_file, f"is built from {bronze['name']}: name it {STAGING_PREFIX}{bronze['name']}"
            )
        columns = self.columns()
        key = self.key(columns)
        select = self.parse_select(bronze)
        reads = self.read_by(select, columns, key, natural_key)
        projection, alias = self.split_select(select)
        bucketed_by, buckets = self.meta.get("bucketed_by"), self.meta.get("buckets", BUCKETS)
        if bucketed_by is not None and bucketed_by not in key:
            raise self.refusal(self.yaml_file, f"is bucketed by {bucketed_by}: choose a column of its key")
        if type(buckets) is not int or not 1 <= buckets <= MAX_BUCKETS:
            raise self.refusal(self.yaml_file, f"has {buckets} buckets: choose 1 to {MAX_BUCKETS}")
        return Declaration(
            name=bronze["name"],
            natural_key=natural_key,
            key=key,
            columns=columns,
            descriptions={name: self.node["columns"][name]["description"].strip() for name in columns},
            projection=projection,
            alias=alias,
            reads=reads,
            required=self.required(columns, key),
            checks=self.checks(columns),
            flags=self.flags(columns),
            bucketed_by=bucketed_by,
            buckets=buckets,
            staging_name=self.node["name"],
        )

    def refusal(self, file: str, problem: str) -> ManifestError:
        """Return an error about a file of this model."""
        return ManifestError(f"{file}: {self.node['name']} {problem}")

    def bronze_model(self) -> dict[str, Any]:
        """Return the one bronze model that the select reads."""
        inputs = [self.nodes[parent] for parent in self.node["depends_on"]["nodes"] if parent in self.nodes]
        if len(inputs) != 1 or inputs[0]["schema"] != BRONZE:
            raise self.refusal(
                self.sql_file,
                f"must select from one bronze model, and reads {', '.join(node['name'] for node in inputs) or 'none'}."
                " Write: select <columns> from {{ ref('<bronze model>') }}",
            )
        return inputs[0]

    def columns(self) -> dict[str, str]:
        """Return the data type of each declared column."""
        columns = {}
        for name, column in self.node["columns"].items():
            if name in RESERVED or name.startswith(RESERVED_PREFIX):
                raise self.refusal(
                    self.yaml_file,
                    f"declares {name}, a name that the Spark job uses itself. Leave it out if it is bookkeeping, or"
                    " give the column another name in the select",
                )
            if name != name.lower():
                raise self.refusal(self.yaml_file, f"declares {name}: write it in lower case, as bronze does")
            data_type = _canonical_type(column["data_type"])
            if not data_type:
                raise self.refusal(
                    self.yaml_file,
                    f"gives {name} the data_type {column['data_type']}: use one of"
                    f" {', '.join(dict.fromkeys(DATA_TYPES.values()))}, decimal(p,s) with p up to 38",
                )
            columns[name] = data_type
        return columns

    def constraints(self) -> Iterable[tuple[str | None, dict[str, Any]]]:
        """Yield the constraints, each with its column; None for those of the whole model."""
        for constraint in self.node["constraints"]:
            yield None, constraint
        for name, column in self.node["columns"].items():
            for constraint in column["constraints"]:
                yield name, constraint

    def constrained(self, kind: str) -> list[str]:
        """Return the columns with a constraint of a kind."""
        return [
            name
            for column, constraint in self.constraints()
            if constraint["type"] == kind
            for name in ([column] if column else constraint["columns"])
        ]

    def key(self, columns: dict[str, str]) -> list[str]:
        """Return the primary key."""
        for _, constraint in self.constraints():
            if constraint["type"] not in ("primary_key", "not_null", "check"):
                raise self.refusal(
                    self.yaml_file,
                    f"has a constraint of the type {constraint['type']}, which the Spark job does not check. Use"
                    " primary_key, not_null or check, or write a data test",
                )
        key = self.constrained("primary_key")
        if not key:
            raise self.refusal(
                self.yaml_file,
                "has no primary_key. Name the columns that identify a row:"
                " constraints: [{type: primary_key, columns: [...]}]",
            )
        if unknown := [name for name in key if name not in columns]:
            raise self.refusal(
                self.yaml_file, f"has {', '.join(unknown)} in its primary_key, which it does not declare"
            )
        return key

    def required(self, columns: dict[str, str], key: list[str]) -> list[str]:
        """Return the columns that may not be null, besides the key."""
        names = [name for name in dict.fromkeys(self.constrained("not_null")) if name not in key]
        if unknown := [name for name in names if name not in columns]:
            raise self.refusal(
                self.yaml_file, f"has a not_null for {', '.join(unknown)}, which it does not declare"
            )
        return names

    def checks(self, columns: dict[str, str]) -> dict[str, str]:
        """Return the conditions that an accepted row meets, by the name of the rule that a bad row breaks."""
        checks: dict[str, str] = {}
        for column, constraint in self.constraints():
            if constraint["type"] != "check":
                continue
            rule = constraint["name"] or (f"{column}_invalid" if column else None)
            if not rule or rule in checks:
                raise self.refusal(
                    self.yaml_file,
                    f"has a check without a name of its own: {constraint['expression']}. Name it",
                )
            checks[rule] = self.condition(f"check {rule}", constraint["expression"], columns)
        return checks

    def flags(self, columns: dict[str, str]) -> dict[str, str]:
        """Return the conditions of doubtful rows, by name."""
        flags = self.meta.get("flags") or {}
        if not isinstance(flags, dict):
            raise self.refusal(self.yaml_file, "has flags that are no mapping of a name to a condition")
        return {name: self.condition(f"flag {name}", flags[name], columns) for name in flags}

    def condition(self, what: str, expression: Any, columns: dict[str, str]) -> str:
        """Return a condition over the declared columns."""
        # Imported here, because importing sqlglot takes a quarter of a second and DAG files must load faster.
        from sqlglot import parse_one
        from sqlglot.errors import SqlglotError
        from sqlglot.expressions import Condition

        try:
            tree = parse_one(str(expression or ""), dialect="spark")
        except SqlglotError as error:
            raise self.refusal(
                self.yaml_file, f"has a {what} that does not parse: {expression} ({_first_line(error)})"
            ) from None
        if not isinstance(tree, Condition) or (part := _beyond_one_row(tree, str(expression))):
            cause = f" ({part})" if isinstance(tree, Condition) else ""
            raise self.refusal(
                self.yaml_file,
                f"has a {what} that is no condition over one row: {expression}{cause}. Write it in Spark SQL over this"
                " model's columns",
            )
        if unknown := sorted(_column_names(tree) - columns.keys()):
            raise self.refusal(
                self.yaml_file, f"has a {what} that names {', '.join(unknown)}, which it does not declare"
            )
        return str(expression)

    def parse_select(self, bronze: dict[str, Any]) -> Select:
        """Return the select as a tree, if it is a projection of its bronze table."""
        from sqlglot import exp, parse
        from sqlglot.errors import SqlglotError

        try:
            trees = parse(self.sql, dialect="spark")
        except SqlglotError as error:
            raise self.refusal(
                self.sql_file, f"has a select that does not parse: {_first_line(error)}"
            ) from None
        tree = trees[0] if len(trees) == 1 else None
        if not isinstance(tree, exp.Select) or not self.sql_tokens[0].text.lower() == "select":
            raise self.no_projection("another statement than one select")
        extra = [part for part, value in tree.args.items() if value and part not in ("expressions", "from_")]
        table = tree.args["from_"].this if tree.args.get("from_") else None
        if not extra and isinstance(table, exp.Table):
            extra = [
                part
                for part, value in table.args.items()
                if value and part not in ("this", "db", "catalog", "alias")
            ]
        if extra:
            raise self.no_projection(", ".join(part.strip("_") for part in extra))
        if not isinstance(table, exp.Table) or f"{table.db}.{table.name}" != table_of(bronze):
            raise self.no_projection("another table than its bronze model")
        if part := _beyond_one_row(tree, self.sql):
            raise self.no_projection(part)
        return tree

    def no_projection(self, part: str) -> ManifestError:
        """Return an error about a select that is no projection."""
        return self.refusal(
            self.sql_file,
            f"must be a projection of its bronze model, one row out of one row in, the same in each run, and has:"
            f" {part}. Keep to expressions over one row here, and do the rest in a model of silver/marts or gold",
        )

    def read_by(
        self, select: Select, columns: dict[str, str], key: list[str], natural_key: list[str]
    ) -> dict[str, list[str]]:
        """Return the columns of bronze that each column is computed from.

        Raises ManifestError if the select lacks a declared column or has others, or if its key is not computed from
        the natural key of bronze.
        """
        projections: dict[str, Expr] = {}
        for projection in select.selects:
            name = projection.alias_or_name.lower()
            if not name or projection.is_star:
                raise self.refusal(
                    self.sql_file,
                    f"selects {projection.sql(dialect='spark')}: name each column that silver is to have",
                )
            if name in projections:
                raise self.refusal(self.sql_file, f"selects {name} twice")
            projections[name] = projection
        if undeclared := [name for name in projections if name not in columns]:
            raise self.refusal(
                self.yaml_file,
                f"does not declare {', '.join(undeclared)}, which its select returns. Declare name and data_type",
            )
        if missing := [name for name in columns if name not in projections]:
            raise self.refusal(
                self.sql_file,
                f"does not select {', '.join(missing)}, which {self.yaml_file} declares. Select it, or remove it there",
            )
        # The key must be computed from the whole natural key and nothing else: a delete has no other columns, and two
        # rows of the source must not get the same key.
        reads = {name: sorted(_column_names(projections[name])) for name in columns}
        read = set[str]().union(*(reads[name] for name in key))
        if read != set(natural_key):
            raise self.refusal(
                self.yaml_file,
                f"has the primary_key {', '.join(key)}, computed from {', '.join(sorted(read)) or 'no column'}. It must"
                f" be computed from the natural_key of its bronze model: {', '.join(natural_key)}",
            )
        return reads

    @property
    def sql(self) -> str:
        """The select, compiled for Spark."""
        if not (compiled := self.node.get("compiled_code")):
            raise ManifestError(
                f"{self.sql_file} is not compiled in the manifest: build it with `make manifest`"
            )
        return str(compiled)

    @property
    def sql_tokens(self) -> list[Any]:
        """The tokens of the select."""
        from sqlglot import tokenize

        return list(tokenize(self.sql, read="spark"))

    def split_select(self, select: Select) -> tuple[str, str]:
        """Return the text between `select` and the last `from`, unchanged, and the table's name in the select."""
        from sqlglot import TokenType

        tokens, depth = self.sql_tokens, 0
        for token in tokens:
            depth += (token.token_type == TokenType.L_PAREN) - (token.token_type == TokenType.R_PAREN)
            # The table follows the last `from` outside of parentheses. Expressions may contain earlier ones.
            if token.token_type == TokenType.FROM and depth == 0:
                end = token.start
        return self.sql[tokens[0].end + 1 : end].strip(), select.args["from_"].this.alias_or_name


def _yaml_file(node: dict[str, Any]) -> str:
    """Return the file that describes a model."""
    return str(node["patch_path"] or node["original_file_path"]).replace("medallion://", "include/dbt/")


def _names(value: Any) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []


def _canonical_type(data_type: Any) -> str | None:
    spelling = " ".join(str(data_type or "").lower().split())
    if number := re.fullmatch(r"(?:decimal|numeric) ?\( ?(\d+) ?(?:, ?(\d+) ?)?\)", spelling):
        digits, places = int(number[1]), int(number[2] or 0)
        return f"decimal({digits},{places})" if 1 <= digits <= 38 and places <= digits else None
    return DATA_TYPES.get(spelling)


def _column_names(tree: Expr) -> set[str]:
    from sqlglot.expressions import Column

    return {column.name.lower() for column in tree.find_all(Column)}


def _beyond_one_row(tree: Expr, sql: str) -> str | None:
    """Return a part of `tree` that reads or returns several rows, or whose value differs between runs; else None.

    `tree`: a select or a condition. `sql`: the same as text, because the tree renames some functions.
    """
    from sqlglot import TokenType, exp, tokenize
    from sqlglot.dialects import Spark

    before = ""
    for token, following in pairwise(tokenize(sql, read="spark")):
        name = token.text.lower()
        if (
            following.token_type == TokenType.L_PAREN
            and token.token_type in Spark.Parser.FUNC_TOKENS
            and name not in ROW_FUNCTIONS
            and before not in ("like", "ilike")  # `like any (…)` is an operator
        ):
            return f"the function {name}, which is not listed in medallion/project/row_functions.py"
        before = name
    for node in tree.find_all(exp.Query, exp.Window, *Spark.Parser.NO_PAREN_FUNCTIONS.values()):
        if node.parent or not isinstance(node, exp.Query):
            return str(node.sql(dialect="spark"))
    for literal in tree.find_all(exp.Literal):
        if CLOCK.fullmatch(literal.name) and not isinstance(literal.parent, exp.Like | exp.ILike):
            return f"{literal.sql()}, which Spark takes for a moment of the run (compare text by `like`)"
    return None


def _first_line(error: Exception) -> str:
    return re.sub(r"\x1b\[\d*m", "", str(error).partition("\n")[0])


if __name__ == "__main__":
    try:
        declarations()
    except ManifestError as error:
        sys.exit(str(error))
