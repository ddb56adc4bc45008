"""Kinds of columns: how the text of a source column becomes a typed value.

Every kind gets its text stripped; empty text is null. A value that does not match its kind is null as well: patterns
decide before any cast, so that nothing depends on Spark's ANSI mode. A project's own kinds are made like these.
"""

from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import Column
from pyspark.sql import functions as F

# Surrogates do not count as blank: the look-behind takes half of a character beyond U+FFFF for one. Unassigned code
# points do not count, either: an older Java takes a newer emoji for one.
BLANK = r"[\s\p{Z}\p{C}&&[^\p{Cs}\p{Cn}]]"
# The look-behind lets a match start only at the first of several blanks, which keeps the time linear.
OUTER_BLANKS = rf"^{BLANK}+|(?<!{BLANK}){BLANK}+$"

# `0*` accepts leading zeros; the counts after it are the digits that the types can hold.
INTEGER_PATTERN = r"^-?0*[0-9]{1,19}$"
DECIMAL_PATTERN = r"^-?0*[0-9]{1,16}(\.[0-9]{1,2})?$"
DOUBLE_PATTERN = r"^-?[0-9]+(\.[0-9]+)?$"
TIMESTAMP_PATTERN = r"^(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2} ([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$"


@dataclass(frozen=True)
class Kind:
    """A kind of column: its type in silver, and how stripped text becomes a value of it (null if it can't)."""

    sql_type: str
    comment: str
    parse: Callable[[Column], Column]


def strip_blanks(text: Column) -> Column:
    """Strip white space, separators, control and format characters at both ends; null if nothing is left."""
    return F.nullif(F.regexp_replace(text, OUTER_BLANKS, ""), F.lit(""))


def keep_text(text: Column) -> Column:
    """Return the text unchanged."""
    return text


def parse_integer(text: Column) -> Column:
    """Parse `-?digits` that fit a bigint."""
    return F.when(text.rlike(INTEGER_PATTERN), text.try_cast("bigint"))


def parse_decimal(text: Column) -> Column:
    """Parse `-?digits` with at most two decimals that fit decimal(18,2)."""
    return F.when(text.rlike(DECIMAL_PATTERN), text.try_cast("decimal(18,2)"))


def parse_double(text: Column) -> Column:
    """Parse a plain decimal number of any scale as double."""
    return F.when(text.rlike(DOUBLE_PATTERN), text.try_cast("double"))


def parse_timestamp(text: Column) -> Column:
    """Parse `YYYY-MM-DD HH:MM:SS`, a real date from year 1 on, as wall-clock time without zone."""
    return F.when(text.rlike(TIMESTAMP_PATTERN), text.try_cast("timestamp_ntz"))


TEXT = Kind("string", "text, stripped", keep_text)
INTEGER = Kind("bigint", "whole number", parse_integer)
DECIMAL = Kind("decimal(18,2)", "number with two decimal places", parse_decimal)
DOUBLE = Kind("double", "number of any scale", parse_double)
TIMESTAMP = Kind("timestamp_ntz", "wall-clock time, without zone", parse_timestamp)
