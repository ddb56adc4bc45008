"""Convert the values that a select returns to their declared data types. A value that would change becomes null.

Text is stripped first, and empty text becomes null. Text is cast only if it matches the pattern of the data type. A
converted number is compared with the original, so that no number is rounded or cut. There is one exception: text that
becomes a floating-point number takes the nearest one.
"""

import re
from decimal import Decimal

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql.types import (
    BooleanType,
    ByteType,
    CharType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    NullType,
    NumericType,
    ShortType,
    StringType,
    TimestampNTZType,
    TimestampType,
    VarcharType,
)

# Surrogates (Cs) do not count as blank, because the look-behind would take half of a character beyond U+FFFF for one.
# Unassigned code points (Cn) do not count as blank, because an older Java would take a newer emoji for one.
BLANK = r"[\s\p{Z}\p{C}&&[^\p{Cs}\p{Cn}]]"
# The look-behind lets a match start only at the first of several blanks, which keeps the time linear.
OUTER_BLANKS = rf"^{BLANK}+|(?<!{BLANK}){BLANK}+$"

# `0*` accepts leading zeros.
INTEGER = r"^-?0*[0-9]{1,19}$"
FLOATING = r"^-?[0-9]+(\.[0-9]+)?$"
DATE = r"(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}"
TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
OFFSET = r"[+-](0[0-9]|1[0-5])(:[0-5][0-9]){0,2}"

# Data types of declarations -> Spark's types; decimal(p,s) has the same name in both.
SPARK_TYPES = {
    "text": "string",
    "integer": "int",
    "bigint": "bigint",
    "real": "float",
    "double": "double",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamp_ntz",
    "timestamptz": "timestamp",
}
NUMBERS = ("integer", "bigint", "real", "double")
WHOLE = (ByteType, ShortType, IntegerType, LongType)
TEXT = (StringType, VarcharType, CharType)


class ConversionError(ValueError):
    """No value of a type can become one of the declared type; the message names both."""


def spark_type(data_type: str) -> str:
    """Return Spark's name of a declared data type."""
    return SPARK_TYPES.get(data_type, data_type)


def strip_blanks(text: Column) -> Column:
    """Strip white space, separators, control and format characters at both ends; null if nothing is left."""
    return F.nullif(F.regexp_replace(text, OUTER_BLANKS, ""), F.lit(""))


def given(value: Column, source: DataType) -> Column:
    """Return the value that `convert` takes: text stripped, anything else unchanged."""
    return strip_blanks(value.cast("string")) if isinstance(source, TEXT) else value


def convert(value: Column, source: DataType, data_type: str) -> Column:
    """Return a value from `given` in the declared data type; null if it would change.

    Raises ConversionError if no value of the type `source` can be converted.
    """
    target = spark_type(data_type)
    if isinstance(source, NullType):
        return value.cast(target)
    if data_type == "text" and (to_text := _text_of(value, source)) is not None:
        return to_text
    if isinstance(source, TEXT):
        return _parse(value, data_type, target)
    if isinstance(source, NumericType) and (data_type.startswith("decimal") or data_type in NUMBERS):
        return _convert_number(value, source, target)
    same: dict[type[DataType], str] = {
        BooleanType: "boolean",
        DateType: "date",
        TimestampNTZType: "timestamp",
        TimestampType: "timestamptz",
    }
    if same.get(type(source)) == data_type:
        return value
    if isinstance(source, DateType) and data_type == "timestamp":
        return value.cast(target)
    if isinstance(source, TimestampNTZType) and data_type == "date":
        day = value.cast("date")
        return F.when(day.cast("timestamp_ntz") == value, day)
    raise ConversionError(f"the select returns {source.simpleString()}, which is no {data_type}")


def _parse(text: Column, data_type: str, target: str) -> Column:
    """Parse stripped text."""
    if data_type == "boolean":
        return F.when(text.isin("true", "t"), True).when(text.isin("false", "f"), False)
    patterns = {
        "integer": INTEGER,
        "bigint": INTEGER,
        "real": FLOATING,
        "double": FLOATING,
        "date": f"^{DATE}$",
        "timestamp": f"^{DATE} {TIME}$",
        "timestamptz": f"^{DATE} {TIME}{OFFSET}$",
    }
    pattern = patterns[data_type] if data_type in patterns else _decimal_pattern(target)
    if data_type == "timestamptz":
        # Spark parses an offset only if it has minutes.
        whole = F.when(text.rlike("[+-][0-9]{2}$"), F.concat(text, F.lit(":00"))).otherwise(text)
        return F.when(text.rlike(pattern), whole.try_cast(target))
    return F.when(text.rlike(pattern), text.try_cast(target))


def _decimal_pattern(target: str) -> str:
    """Return the pattern of the numbers that a decimal type holds; places beyond its scale must be zeros."""
    digits, places = (int(number) for number in re.findall(r"\d+", target))
    whole = rf"0*[0-9]{{1,{digits - places}}}" if digits > places else "0+"
    return rf"^-?{whole}(\.(?=[0-9])[0-9]{{0,{places}}}0*)?$"


def _convert_number(value: Column, source: DataType, target: str) -> Column:
    """Convert a number, and compare the outcome with it."""
    if source.simpleString() == target:
        return value
    if isinstance(source, FloatType | DoubleType):
        if target == "double":
            return value.cast(target)
        if target == "float":
            narrow = value.cast(target)
            return F.when(narrow.cast("double") == value, narrow)
        # Spark writes a floating-point number as the shortest decimal that identifies it within its type.
        exact = value.cast("string").try_cast(target if target.startswith("decimal") else "decimal(38,0)")
        return F.when(exact.cast("string").cast(source) == value, exact.try_cast(target))
    if target in ("float", "double"):
        near = value.cast(target)
        if isinstance(source, DecimalType):
            return F.when(near.cast("string").try_cast(source) == value, near)
        # Exclude 2^63, because its cast to bigint gives 2^63 - 1. Do not add a third cast: Spark would drop the first.
        return F.when((near < F.lit(2.0**63)) & (near.try_cast("bigint") == value), near)
    outcome = value.try_cast(target)
    return F.when(outcome.try_cast(source) == value, outcome)


def _text_of(value: Column, source: DataType) -> Column | None:
    """Return a value as PostgreSQL writes it; None if there is no such text."""
    if isinstance(source, TEXT):
        return value
    if isinstance(source, FloatType):
        return _floating_text(value, digits=6)
    if isinstance(source, DoubleType):
        return _floating_text(value, digits=15)
    if isinstance(source, TimestampType):
        return F.concat(value.cast("string"), F.lit("+00"))
    if isinstance(source, (*WHOLE, BooleanType, DateType, DecimalType, TimestampNTZType)):
        return value.cast("string")
    return None


def _floating_text(value: Column, digits: int) -> Column:
    """Return a floating-point number as PostgreSQL writes it: with an exponent below 0.0001 and from 10^digits on."""
    java = value.cast("string")  # such as 1.0E7 for ten millions
    size = F.abs(value)
    plain = _without_zeros(java.try_cast("decimal(38,21)"))
    # Java writes an exponent from 10^7 on, but PostgreSQL writes one for a real from 10^6 on. This is the text of the
    # numbers in between.
    millions = F.concat(
        _without_zeros(java.try_cast("decimal(20,10)") * F.lit(Decimal("0.000001"))), F.lit("e+06")
    )
    exponent = F.split_part(java, F.lit("E"), F.lit(2)).try_cast("int")
    scientific = F.concat(
        F.regexp_replace(F.split_part(java, F.lit("E"), F.lit(1)), r"\.0$", ""),
        F.when(exponent < 0, "e-").otherwise("e+"),
        F.when(F.abs(exponent) < 10, "0").otherwise(""),
        F.abs(exponent).cast("string"),
    )
    return (
        F.when(F.isnan(value) | (size == float("inf")), java)
        .when(value == 0, F.when(java.startswith("-"), "-0").otherwise("0"))
        .when((exponent.isNull() & (size < 10.0**digits)) | exponent.between(-4, digits - 1), plain)
        .when(exponent.isNotNull(), scientific)
        .otherwise(millions)
    )


def _without_zeros(number: Column) -> Column:
    """Return a decimal number as text, without the zeros at the end of its fraction."""
    return F.regexp_replace(number.cast("string"), r"\.?0+$", "")
