"""Parsing, value by value, by the product's kinds."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from medallion_spark.kinds import DECIMAL, DOUBLE, INTEGER, TEXT, TIMESTAMP, Kind, strip_blanks

NBSP, ZERO_WIDTH, BOM, VERTICAL_TAB, NEL, IDEOGRAPHIC = "\u00a0", "\u200b", "\ufeff", "\x0b", "\x85", "\u3000"
LINE_SEPARATOR, ARABIC_THREE, FULL_WIDTH_ONE = "\u2028", "\u0663", "\uff11"
NEWER_EMOJI, UNASSIGNED = "\U0001faf6", "\u0378"  # the emoji of Unicode 14 is assigned from Java 19 on

CASES: list[tuple[str, Kind, dict[str | None, Any]]] = [
    (
        "text",
        TEXT,
        {
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
    ),
    (
        "integer",
        INTEGER,
        {
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
    ),
    (
        "decimal",
        DECIMAL,
        {
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
            "1.230": None,
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
    ),
    (
        "timestamp",
        TIMESTAMP,
        {
            f"2018-02-28 23:59:59{NBSP}": datetime(2018, 2, 28, 23, 59, 59),
            "2016-02-29 00:00:00": datetime(2016, 2, 29),
            "0001-01-01 00:00:00": datetime(1, 1, 1),
            "9999-12-31 23:59:59": datetime(9999, 12, 31, 23, 59, 59),
            "2018-03-25 02:30:00": datetime(2018, 3, 25, 2, 30),  # skipped by clocks in Europe
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
            "2018-01-01 00:00:00.0": None,
            "2018-01-01 00:00:00Z": None,
            "2018-01-01 00:00:00+00": None,
            "2018-1-01 00:00:00": None,
            "2018-01-01  00:00:00": None,
            "01/02/2018 10:00:00": None,
            "-2018-01-01 00:00:00": None,
        },
    ),
    (
        "double",
        DOUBLE,
        {
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
    ),
]


@pytest.mark.parametrize(("kind", "cases"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_kind(spark: SparkSession, kind: Kind, cases: dict[str | None, Any]) -> None:
    frame = spark.createDataFrame(list(enumerate(cases)), "id int, text string")
    value = kind.parse(strip_blanks(F.col("text")))
    parsed: dict[int, Any] = dict(frame.select("id", value).collect())
    assert {text: parsed[number] for number, text in enumerate(cases)} == cases


def test_kinds_have_the_type_they_declare(spark: SparkSession) -> None:
    frame = spark.createDataFrame([("1",)], "text string")
    for _, kind, _ in CASES:
        assert frame.select(kind.parse(F.col("text"))).dtypes[0][1] == kind.sql_type
