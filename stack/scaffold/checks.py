"""Translate check constraints of PostgreSQL into Spark SQL.

They may compare columns with columns, literals, lists and null, and join conditions by `and`, `or` and `not`. Any other
constraint is left out, because it may mean something else in Spark.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import sqlglot
from sqlglot import exp

from stack.scaffold.kinds import FAMILIES

COMPARISONS: dict[type[exp.Expression], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
EQUALITY = ("=", "<>")
# Types of PostgreSQL, and the types that hold each of their values.
HOLDERS = {
    "int2": ("smallint", "int", "bigint"),
    "int4": ("int", "bigint"),
    "int8": ("bigint",),
    "oid": ("bigint",),
    "float4": ("float", "double"),
    "float8": ("double",),
}
CONNECTORS: dict[type[exp.Expression], str] = {exp.And: "and", exp.Or: "or"}


class Untranslatable(Exception):
    """The constraint has a part that Spark may read in another way; the message names it."""


@dataclass(frozen=True)
class Term:
    """A column of silver; `type` is its type in PostgreSQL, `data_type` its type in silver."""

    name: str
    type: str
    data_type: str

    @property
    def family(self) -> str:
        """Return the family of the column's type. Types of one family can be compared with each other."""
        if FAMILIES.get(self.type, "") not in ("", "text") and self.data_type == "text":
            raise Untranslatable(f"{self.name} is text until its data_type is declared")
        if self.type not in FAMILIES:
            raise Untranslatable(f"{self.name} is text in silver")
        return FAMILIES[self.type]


@dataclass(frozen=True)
class Translation:
    """A condition in Spark SQL, and the columns of silver that it reads."""

    expression: str
    columns: tuple[str, ...]


def quote(name: str) -> str:
    """Return a column's name as Spark reads it, with backticks if it needs them."""
    if re.fullmatch("[a-z_][a-z0-9_]*", name) and name.upper() not in RESERVED:
        return name
    return "`" + name.replace("`", "``") + "`"


class Translator:
    """Translate the conditions of one table; `terms` has its columns by the source's names."""

    def __init__(self, terms: Mapping[str, Term]) -> None:
        self.terms = terms
        self.read: dict[str, None] = {}

    def column(self, node: exp.Expression) -> Term | None:
        """Return the column that a node names, without casts and parentheses; None if it is no column."""
        inner = unwrap(node)
        if not isinstance(inner, exp.Column):
            return None
        name = inner.name if inner.this.quoted else inner.name.lower()
        if name not in self.terms:
            raise Untranslatable(f"silver has no column {inner.name}")
        term = self.terms[name]
        self.read[term.name] = None
        # A cast that changes values would compare other values than silver has.
        for target in casts(node):
            if not keeps_value(term, target):
                raise Untranslatable(f"a cast to {target.sql('postgres').lower()}")
        return term

    def literal(self, node: exp.Expression, family: str) -> str:
        """Return a literal, of a family of types, as Spark SQL."""
        inner = unwrap(node)
        sign = ""
        if isinstance(inner, exp.Neg):
            sign, inner = "-", unwrap(inner.this)
        if family == "bool" and isinstance(inner, exp.Boolean):
            return "true" if inner.this else "false"
        if isinstance(inner, exp.Literal):
            text = inner.name
            if family == "number" and re.fullmatch(r"-?\d+(\.\d+)?", text):
                return sign + text
            if family == "text" and inner.is_string and text == text.strip() and "\\" not in text:
                return "'" + text.replace("'", "\\'") + "'"
            if family == "date" and re.fullmatch(r"\d{4}-\d\d-\d\d", text):
                return f"date '{text}'"
        raise Untranslatable(inner.sql("postgres"))

    def comparison(self, node: exp.Expression, operator: str) -> str:
        """Return a comparison of a column with a column or a literal."""
        left, right = self.column(node.this), self.column(node.expression)
        term = left or right
        if term is None:
            raise Untranslatable(node.sql("postgres"))
        if left and right and left.family != right.family:
            raise Untranslatable(node.sql("postgres"))
        if term.family == "text" and operator not in EQUALITY:
            raise Untranslatable(f"the order of texts in {node.sql('postgres')}")
        sides = [
            quote(side.name) if side else self.literal(part, term.family)
            for side, part in ((left, node.this), (right, node.expression))
        ]
        return f"{sides[0]} {operator} {sides[1]}"

    def any_of(self, node: exp.Expression, values: list[exp.Expression], negated: bool) -> str:
        """Return a comparison of a column with a list of literals."""
        term = self.column(node)
        if term is None or not values:
            raise Untranslatable(node.sql("postgres"))
        literals = ", ".join(self.literal(value, term.family) for value in values)
        return f"{quote(term.name)} {'not in' if negated else 'in'} ({literals})"

    def condition(self, node: exp.Expression) -> str:
        """Return a condition. Raises Untranslatable."""
        node = unwrap_parentheses(node)
        if type(node) in CONNECTORS:
            word = CONNECTORS[type(node)]
            sides = [self.grouped(side, type(node)) for side in (node.this, node.expression)]
            return f" {word} ".join(sides)
        if isinstance(node, exp.Not):
            return f"not ({self.condition(node.this)})"
        if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
            term = self.column(node.this)
            if term is None:
                raise Untranslatable(node.sql("postgres"))
            return f"{quote(term.name)} is {'not ' if node.args.get('negate') else ''}null"
        if isinstance(node, exp.In) and node.expressions:
            return self.any_of(node.this, node.expressions, negated=False)
        if isinstance(node, exp.Between):
            low = exp.GTE(this=node.this.copy(), expression=node.args["low"].copy())
            high = exp.LTE(this=node.this.copy(), expression=node.args["high"].copy())
            return f"{self.condition(low)} and {self.condition(high)}"
        if isinstance(node, exp.EQ) and isinstance(node.expression, exp.Any):
            return self.any_of(node.this, array_values(node.expression.this), negated=False)
        if isinstance(node, exp.NEQ) and is_all(node.expression):
            return self.any_of(node.this, array_values(node.expression.expressions[0]), negated=True)
        if type(node) in COMPARISONS:
            return self.comparison(node, COMPARISONS[type(node)])
        if isinstance(unwrap(node), exp.Column):
            term = self.column(node)
            if term and term.family == "bool":
                return quote(term.name)
        raise Untranslatable(node.sql("postgres"))

    def grouped(self, node: exp.Expression, parent: type[exp.Expression]) -> str:
        """Return an operand of `and` or `or`. An operand that is joined by the other word is in parentheses."""
        inner = unwrap_parentheses(node)
        text = self.condition(inner)
        return f"({text})" if type(inner) in CONNECTORS and type(inner) is not parent else text


def unwrap_parentheses(node: exp.Expression) -> exp.Expression:
    """Return the expression without parentheses around it."""
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def unwrap(node: exp.Expression) -> exp.Expression:
    """Return the expression without parentheses and casts around it."""
    while isinstance(node, exp.Paren | exp.Cast):
        node = node.this
    return node


def casts(node: exp.Expression) -> list[exp.DataType]:
    """Return the types of the casts around a column."""
    types = []
    while isinstance(node, exp.Paren | exp.Cast):
        if isinstance(node, exp.Cast):
            types.append(node.to)
        node = node.this
    return types


def keeps_value(term: Term, target: exp.DataType) -> bool:
    """Return whether a cast of a column leaves each value unchanged."""
    if target.expressions:  # a cast to a length or precision may cut the value
        return False
    if term.family == "text":
        return target.is_type(*exp.DataType.TEXT_TYPES, exp.DataType.Type.USERDEFINED)
    if term.family != "number" or target.is_type(exp.DataType.Type.DECIMAL):
        return term.family == "number"
    return target.is_type(*HOLDERS.get(term.type, ()))


def is_all(node: exp.Expression) -> bool:
    """Return whether an expression is `all (array)`."""
    return isinstance(node, exp.Anonymous) and node.name.upper() == "ALL" and len(node.expressions) == 1


def array_values(node: exp.Expression) -> list[exp.Expression]:
    """Return the elements of an array; none if it is something else."""
    inner = unwrap(node)
    return list(inner.expressions) if isinstance(inner, exp.Array) else []


def translate(definition: str, terms: Mapping[str, Term]) -> Translation:
    """Return a constraint, as PostgreSQL prints it, in Spark SQL. Raises Untranslatable."""
    match = re.fullmatch(r"CHECK \((.*)\)(?: NO INHERIT)?", definition, re.DOTALL)
    if not match:
        raise Untranslatable("it is no plain check")
    try:
        node = sqlglot.parse_one(match[1], dialect="postgres")
        translator = Translator(terms)
        expression = translator.condition(cast("exp.Expression", node))
        sqlglot.parse_one(expression, dialect="spark")
    except sqlglot.errors.SqlglotError:
        raise Untranslatable("it does not parse") from None
    return Translation(expression, tuple(translator.read))


# Words that Spark's grammar reserves in its strict mode.
RESERVED = frozenset(
    """
    ALL AND ANTI ANY AS AUTHORIZATION BOTH CASE CAST CHECK COLLATE COLUMN CONSTRAINT CREATE CROSS CURRENT_DATE
    CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER DISTINCT ELSE END ESCAPE EXCEPT EXISTS FALSE FETCH FILTER FOR FOREIGN
    FROM FULL FUNCTION GRANT GROUP HAVING IN INNER INTERSECT INTO IS JOIN LATERAL LEADING LEFT LIKE LIMIT MINUS NATURAL
    NOT NULL OFFSET ON ONLY OR ORDER OUTER OVERLAPS PRIMARY REFERENCES RIGHT SELECT SEMI SESSION_USER SOME SQL TABLE
    THEN TIME TO TRAILING TRUE UNION UNIQUE UNKNOWN UPDATE USER USING VALUES WHEN WHERE WITH
    """.split()  # noqa: SIM905
)
