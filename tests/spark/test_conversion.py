"""Conversion of bronze values to declared types, for listed and random values: the same value results, or null."""

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import given as given_values
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import NullType

from medallion_spark.conversion import ConversionError, convert, given, spark_type
from support.postgres import query

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

NBSP, ZERO_WIDTH, BOM, VERTICAL_TAB, NEL, IDEOGRAPHIC = "\u00a0", "\u200b", "\ufeff", "\x0b", "\x85", "\u3000"
LINE_SEPARATOR, ARABIC_THREE, FULL_WIDTH_ONE = "\u2028", "\u0663", "\uff11"
# Two characters that Java before 19 regards as unassigned: an emoji of Unicode 14, and one that no Unicode assigns.
NEWER_EMOJI, UNASSIGNED = "\U0001faf6", "\u0378"

# Declared type -> text of the source -> the converted value.
CASES: dict[str, dict[str | None, Any]] = {
    "text": {
        None: None,
        "": None,
        " \t\r\n": None,
        NBSP + ZERO_WIDTH: None,
        f"{BOM}a{VERTICAL_TAB}{NEL}": "a",
        f"{IDEOGRAPHIC}a  b{NBSP}": "a  b",
        f" a{ZERO_WIDTH}b\n": f"a{ZERO_WIDTH}b",
        "a\n": "a",
        "\n🧸a🧸 \n": "🧸a🧸",
        f"{NEWER_EMOJI} ": NEWER_EMOJI,
        f" {UNASSIGNED}": UNASSIGNED,
        f"\x00a\x1f{LINE_SEPARATOR}": "a",
        "x" + " " * 100_000 + "y ": "x" + " " * 100_000 + "y",
        "null": "null",
    },
    "bigint": {
        None: None,
        " ": None,
        "1": 1,
        f"{NBSP}-007 ": -7,
        "-0": 0,
        "9223372036854775807": 9223372036854775807,
        "9223372036854775808": None,
        "-9223372036854775808": -9223372036854775808,
        "-9223372036854775809": None,
        "0" * 50 + "12": 12,
        "9" * 40: None,
        "+1": None,
        "1.0": None,
        "1e3": None,
        "1_000": None,
        "- 1": None,
        "1\n2": None,
        "-": None,
        "1L": None,
        ARABIC_THREE: None,
        FULL_WIDTH_ONE: None,
    },
    "decimal(18,2)": {
        "99.9": Decimal("99.90"),
        " 0 ": Decimal("0.00"),
        "-0.01": Decimal("-0.01"),
        "-0": Decimal("0.00"),
        "0" * 50 + "1.5": Decimal("1.50"),
        "9999999999999999.99": Decimal("9999999999999999.99"),
        "-9999999999999999.99": Decimal("-9999999999999999.99"),
        "10000000000000000": None,
        "9" * 40 + ".99": None,
        "1.234": None,
        "1.230": Decimal("1.23"),
        "12.3400": Decimal("12.34"),
        "7.000000000000000000000": Decimal("7.00"),
        ".5": None,
        "5.": None,
        "1,5": None,
        "1e2": None,
        "NaN": None,
        "Infinity": None,
        "+1.00": None,
        "R$ 5": None,
        f"{ARABIC_THREE}.00": None,
    },
    "timestamp": {
        f"2018-02-28 23:59:59{NBSP}": datetime(2018, 2, 28, 23, 59, 59),
        "2016-02-29 00:00:00": datetime(2016, 2, 29),
        "0001-01-01 00:00:00": datetime(1, 1, 1),
        "9999-12-31 23:59:59": datetime(9999, 12, 31, 23, 59, 59),
        "2018-03-25 02:30:00": datetime(2018, 3, 25, 2, 30),  # clocks in Europe skip this hour
        "0000-01-01 00:00:00": None,
        "2018-02-29 00:00:00": None,
        "2018-13-01 00:00:00": None,
        "2018-00-10 00:00:00": None,
        "2018-04-31 00:00:00": None,
        "2018-01-01 24:00:00": None,
        "2018-01-01 23:60:00": None,
        "2018-01-01 23:59:60": None,
        "2018-01-01T00:00:00": None,
        "2018-01-01": None,
        "2018-01-01 00:00": None,
        "2018-01-01 00:00:00.0": datetime(2018, 1, 1),
        "2018-01-01 00:00:00.123456": datetime(2018, 1, 1, 0, 0, 0, 123456),
        "2018-01-01 00:00:00.1234567": None,
        "2018-01-01 00:00:00.": None,
        "2018-01-01 00:00:00Z": None,
        "2018-01-01 00:00:00+00": None,
        "2018-1-01 00:00:00": None,
        "2018-01-01  00:00:00": None,
        "01/02/2018 10:00:00": None,
        "-2018-01-01 00:00:00": None,
    },
    "double": {
        "-23.548945985189434": -23.548945985189434,
        " 5 ": 5.0,
        "-0.0000000000000000000001": -1e-22,
        "1e1": None,
        "-.5": None,
        "5.": None,
        "-23,55": None,
        "--23.5": None,
        "NaN": None,
        "Infinity": None,
        "1d": None,
    },
    "integer": {"2147483647": 2147483647, "2147483648": None, " -007": -7, "1.0": None},
    "real": {"0.125": 0.125, "1e1": None, "NaN": None},
    "decimal(2,2)": {
        "0.25": Decimal("0.25"),
        "000.2500": Decimal("0.25"),
        "1": None,
        "0": Decimal("0.00"),
        "0.": None,
    },
    "decimal(38,0)": {"9" * 38: Decimal("9" * 38), "9" * 39: None, "1.000": Decimal(1), "1.001": None},
    "boolean": {
        "true": True,
        " f\n": False,
        "t": True,
        "false": False,
        "TRUE": None,
        "yes": None,
        "1": None,
        "": None,
    },
    "date": {
        "2018-02-28": date(2018, 2, 28),
        "2018-02-29": None,
        "0000-01-01": None,
        "2018-2-28": None,
        "2018-02-28 00:00:00": None,
        "10000-01-01": None,
        "28.02.2018": None,
    },
    "timestamptz": {
        "2018-01-01 10:00:00+00": datetime(2018, 1, 1, 10, tzinfo=UTC),
        "2018-01-01 10:00:00.5-03": datetime(2018, 1, 1, 13, 0, 0, 500000, tzinfo=UTC),
        "2018-01-01 10:00:00.000001+05:30": datetime(2018, 1, 1, 4, 30, 0, 1, tzinfo=UTC),
        "2018-01-01 10:00:00": None,
        "2018-01-01 10:00:00Z": None,
        "2018-02-30 10:00:00+00": None,
        "2018-01-01 10:00:00+25": None,
        "infinity": None,
    },
}


@pytest.mark.parametrize("data_type", CASES)
def test_text(spark: SparkSession, data_type: str) -> None:
    cases = CASES[data_type]
    assert dict(zip(cases, converted(spark, "string", data_type, list(cases)), strict=True)) == cases


def converted(spark: SparkSession, source: str, data_type: str, values: list[Any]) -> list[Any]:
    """Convert values of the Spark type `source` to the declared type `data_type`, and return them."""
    frame = spark.createDataFrame(list(enumerate(values)), f"id int, value {source}")
    kind = frame.schema["value"].dataType
    result = frame.select("id", given(F.col("value"), kind).alias("given")).select(
        "id", convert(F.col("given"), kind, data_type).alias("value")
    )
    assert result.dtypes[1][1] == spark_type(data_type)
    # Spark would return these values in the machine's time zone. Read them as microseconds instead.
    if data_type == "timestamptz":
        result = result.select("id", F.unix_micros("value"))
        return [
            micros if micros is None else EPOCH + timedelta(microseconds=micros)
            for _, micros in sorted(result.collect())
        ]
    return [value for _, value in sorted(result.collect(), key=lambda row: row[0])]


INFINITY, NAN = float("inf"), float("nan")
# Spark type, declared type, and values of the Spark type -> the converted values.
TYPED: list[tuple[str, str, dict[Any, Any]]] = [
    ("double", "decimal(9,4)", {5.0e-4: Decimal("0.0005"), 0.125: Decimal("0.1250"), NAN: None, 1e7: None}),
    ("double", "decimal(38,2)", {INFINITY: None}),
    ("double", "decimal(9,2)", {0.125: None, 0.1: Decimal("0.10"), 1234567.89: Decimal("1234567.89"), 0.0: Decimal(0)}),
    ("float", "decimal(18,2)", {9.8: Decimal("9.80"), 12345678.0: Decimal("12345678.00"), 1e7: Decimal("10000000.00")}),
    ("double", "bigint", {1e7: 10_000_000, 0.5: None, 9.3e18: None, -3.0: -3, INFINITY: None}),
    ("double", "integer", {2147483647.0: 2147483647, 2147483648.0: None}),
    ("double", "real", {0.125: 0.125, 0.1: None, 1e300: None, INFINITY: INFINITY}),
    ("float", "double", {0.125: 0.125, -INFINITY: -INFINITY}),
    ("bigint", "integer", {2147483648: None, -5: -5}),
    ("int", "bigint", {-5: -5}),
    ("bigint", "double", {2**53: 2.0**53, 2**53 + 1: None, 2**63 - 1: None, -(2**63): -(2.0**63)}),
    ("int", "real", {16777216: 16777216.0, 16777217: None}),
    ("bigint", "decimal(3,1)", {99: Decimal("99.0"), 100: None}),
    ("decimal(20,8)", "decimal(18,2)", {Decimal("12.34"): Decimal("12.34"), Decimal("12.345"): None}),
    ("decimal(18,2)", "bigint", {Decimal("5.00"): 5, Decimal("5.01"): None}),
    ("decimal(38,0)", "bigint", {Decimal(2**63 - 1): 2**63 - 1, Decimal(2**63): None}),
    ("decimal(18,2)", "double", {Decimal("0.10"): 0.1, Decimal("1234567890123456.78"): None}),
    ("boolean", "boolean", {True: True, False: False}),
    ("date", "timestamp", {date(2018, 1, 2): datetime(2018, 1, 2)}),
    ("timestamp_ntz", "date", {datetime(2018, 1, 2): date(2018, 1, 2), datetime(2018, 1, 2, 0, 0, 0, 1): None}),
    ("timestamp_ntz", "timestamp", {datetime(2018, 3, 25, 2, 30, 0, 1): datetime(2018, 3, 25, 2, 30, 0, 1)}),
    ("timestamp", "timestamptz", {datetime(2018, 1, 2, tzinfo=UTC): datetime(2018, 1, 2, tzinfo=UTC)}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "data_type", "cases"), TYPED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_typed_values(spark: SparkSession, source: str, data_type: str, cases: dict[Any, Any]) -> None:
    values = converted(spark, source, data_type, [None, *cases])
    assert values == [None, *cases.values()]


@pytest.mark.parametrize(
    ("source", "data_type"),
    [
        ("timestamp", "timestamp"), ("timestamp_ntz", "timestamptz"), ("timestamp", "date"), ("date", "timestamptz"),
        ("array<string>", "text"), ("map<string, int>", "text"), ("binary", "text"), ("boolean", "integer"),
        ("int", "boolean"), ("int", "date"), ("date", "bigint"), ("interval day to second", "text"),
    ],
)  # fmt: skip
def test_types_without_a_common_value_are_refused(spark: SparkSession, source: str, data_type: str) -> None:
    kind = spark.sql(f"select cast(null as {source}) as value").schema["value"].dataType
    with pytest.raises(ConversionError, match=f"which is no {data_type}"):
        convert(F.col("value"), kind, data_type)


def test_null_of_a_select_has_any_type(spark: SparkSession) -> None:
    for data_type in CASES:
        value = convert(F.lit(None), NullType(), data_type).alias("value")
        assert spark.range(1).select(value).dtypes == [("value", spark_type(data_type))]


# Spark type -> values -> the text that PostgreSQL 18 writes for them: select '1e15'::float8::text, …
WRITTEN: dict[str, dict[Any, str]] = {
    "double": {
        0.0: "0", 1.0: "1", -1.5: "-1.5", 0.1: "0.1", 1e14: "100000000000000", 1e15: "1e+15",
        123456789012345.67: "123456789012345.67", 1.25e17: "1.25e+17", 1e-4: "0.0001",
        1e-5: "1e-05", 1.5e-300: "1.5e-300", INFINITY: "Infinity", -INFINITY: "-Infinity", 1e7: "10000000",
    },
    "float": {1e6: "1e+06", 999999.0: "999999", 1234567.0: "1.234567e+06", 1e-4: "0.0001", 0.1: "0.1", 1e10: "1e+10"},
    "boolean": {True: "true", False: "false"},
    "decimal(20,8)": {Decimal("0"): "0.00000000", Decimal("-0.00000001"): "-0.00000001"},
    "bigint": {-(2**63): "-9223372036854775808"},
    "date": {date(1, 2, 3): "0001-02-03"},
    "timestamp_ntz": {
        datetime(2018, 1, 2, 3, 4, 5): "2018-01-02 03:04:05",
        datetime(2018, 1, 2, 0, 0, 0, 500): "2018-01-02 00:00:00.0005",
    },
    "timestamp": {datetime(2018, 1, 2, 3, tzinfo=UTC): "2018-01-02 03:00:00+00"},
}  # fmt: skip


@pytest.mark.parametrize("source", WRITTEN)
def test_text_is_that_of_postgres(spark: SparkSession, postgres_dsn: str, source: str) -> None:
    cases = WRITTEN[source]
    assert converted(spark, source, "text", list(cases)) == list(cases.values())


def test_expected_text_is_that_of_postgres(postgres_dsn: str) -> None:
    types = {"double": "float8", "float": "float4"}
    for source, postgres in types.items():
        for value, text in WRITTEN[source].items():
            assert query(postgres_dsn, f"select ('{value!r}'::{postgres})::text") == [(text,)]


# Each example of hypothesis needs a slow Spark query. So use few examples with many values, and do not shrink failures.
sampled = settings(max_examples=2, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
NUMBERS = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False, places=4).map(lambda number: format(number, "f")),
    st.integers(-(2**70), 2**70).map(str),
    st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{1,8})?", fullmatch=True),
)


def has_places(number: Decimal, places: int) -> bool:
    """Return whether a number has at most this many decimal places, not counting trailing zeros."""
    with localcontext(prec=700):
        return number == number.quantize(Decimal(1).scaleb(-places))


@sampled
@given_values(st.lists(NUMBERS, min_size=50, max_size=100))
def test_any_number_in_text_keeps_its_value_or_has_none(spark: SparkSession, texts: list[str]) -> None:
    for data_type in ("bigint", "decimal(18,2)", "decimal(9,4)"):
        places = 0 if data_type == "bigint" else int(data_type[-2])
        digits = 19 if data_type == "bigint" else int(data_type[8:-3])
        for text, value in zip(texts, converted(spark, "string", data_type, texts), strict=True):
            number = Decimal(text)
            fits = has_places(number, places) and abs(number) < Decimal(10) ** (digits - places)
            if data_type == "bigint":
                fits = "." not in text and -(2**63) <= number < 2**63
            assert (text, value) == (text, number if fits else None)


@sampled
@given_values(st.lists(st.floats(), min_size=50, max_size=100))
def test_any_double_keeps_its_value_or_has_none(spark: SparkSession, doubles: list[float]) -> None:
    for value, result in zip(doubles, converted(spark, "double", "decimal(38,10)", doubles), strict=True):
        number = Decimal(repr(value))
        fits = number.is_finite() and abs(number) < Decimal(10) ** 28 and has_places(number, 10)
        assert (value, result is not None) == (value, fits) or value != value
        assert result is None or float(result) == value
    for value, result in zip(doubles, converted(spark, "double", "text", doubles), strict=True):
        assert result == "NaN" if value != value else float(result) == value
    for value, result in zip(doubles, converted(spark, "double", "bigint", doubles), strict=True):
        fits = math.isfinite(value) and value == int(value) and abs(value) < 2**63
        assert (value, result is not None) == (value, fits) or value != value
        assert result is None or float(result) == value


@sampled
@given_values(st.lists(st.datetimes(), min_size=50, max_size=100))
def test_any_time_keeps_its_value(spark: SparkSession, times: list[datetime]) -> None:
    texts = [time.isoformat(" ") for time in times]
    assert converted(spark, "string", "timestamp", texts) == times
    assert converted(spark, "timestamp_ntz", "timestamp", times) == times
    assert converted(spark, "timestamp_ntz", "text", times) == [
        text.rstrip("0") if "." in text else text for text in texts
    ]
    days = converted(spark, "timestamp_ntz", "date", times)
    assert days == [time.date() if time == datetime(*time.timetuple()[:3]) else None for time in times]
