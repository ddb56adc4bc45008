"""The oracle's macros that convert and standardise values."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from .model import empty_source

NBSP, ZERO_WIDTH, BOM, VERTICAL_TAB, IDEOGRAPHIC, NEL = "\u00a0", "\u200b", "\ufeff", "\x0b", "\u3000", "\x85"


@pytest.fixture(scope="module")
def macro() -> Any:
    """Return a function that calls a macro of sql/macros.sql with arguments and returns its result."""
    connection = empty_source()

    def call(name: str, *arguments: str | int | None) -> Any:
        query = f"select {name}({', '.join('?' * len(arguments))})"
        ((value,),) = connection.execute(query, list(arguments)).fetchall()
        return value

    return call


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("", None),
        (" \t\r\n", None),
        (NBSP + ZERO_WIDTH, None),
        (f"{BOM}a{VERTICAL_TAB}{NEL}", "a"),
        (f"{IDEOGRAPHIC}a  b{NBSP}", "a  b"),
        (f" a{ZERO_WIDTH}b\n", f"a{ZERO_WIDTH}b"),
        ("\n🧸a🧸 \n", "🧸a🧸"),
        ("null", "null"),
    ],
)
def test_text(macro: Any, text: str | None, expected: str | None) -> None:
    assert macro("parse_text", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        (f"{NBSP}-007 ", -7),
        ("9223372036854775807", 9223372036854775807),
        ("9223372036854775808", None),
        ("-9223372036854775808", -9223372036854775808),
        ("+1", None),
        ("1.0", None),
        ("1e3", None),
        ("1_000", None),
        ("- 1", None),
        ("٣", None),
        ("0x10", None),
        ("", None),
    ],
)
def test_integer(macro: Any, text: str, expected: int | None) -> None:
    assert macro("parse_integer", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("99.9", "99.90"),
        (" 0 ", "0.00"),
        ("-0.01", "-0.01"),
        ("-0", "0.00"),
        ("000000000000000000001.5", "1.50"),
        ("9999999999999999.99", "9999999999999999.99"),
        ("10000000000000000", None),
        ("1.234", None),
        ("1.230", "1.23"),
        ("12.3400", "12.34"),
        ("12.3401", None),
        (".5", None),
        ("5.", None),
        ("1,5", None),
        ("1e2", None),
        ("NaN", None),
        ("R$ 5", None),
    ],
)
def test_decimal(macro: Any, text: str, expected: str | None) -> None:
    assert repr(macro("parse_decimal", text)) == repr(expected and Decimal(expected))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"2018-02-28 23:59:59{NBSP}", datetime(2018, 2, 28, 23, 59, 59)),
        ("0001-01-01 00:00:00", datetime(1, 1, 1)),
        ("9999-12-31 00:00:00", datetime(9999, 12, 31)),
        ("2018-03-25 02:30:00", datetime(2018, 3, 25, 2, 30)),  # clocks in Europe skip this hour
        ("0000-01-01 00:00:00", None),
        ("2018-02-29 00:00:00", None),
        ("2018-01-01 24:00:00", None),
        ("2018-01-01 23:60:00", None),
        ("2018-01-01 23:59:60", None),
        ("2018-01-01T00:00:00", None),
        ("2018-01-01", None),
        ("2018-01-01 00:00:00.0", datetime(2018, 1, 1)),
        ("2018-01-01 00:00:00.000001", datetime(2018, 1, 1, 0, 0, 0, 1)),
        ("2018-01-01 00:00:00.0000001", None),
        ("2018-01-01 00:00:00Z", None),
        ("2018-1-01 00:00:00", None),
        ("2018-01-01  00:00:00", None),
    ],
)
def test_timestamp(macro: Any, text: str, expected: datetime | None) -> None:
    assert macro("parse_timestamp", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-23.548945985189434", -23.548945985189434),
        ("5", 5.0),
        ("1e1", None),
        ("-.5", None),
        ("9" * 400, float("inf")),
    ],
)
def test_coordinate(macro: Any, text: str, expected: float | None) -> None:
    assert macro("parse_coordinate", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1310", "01310"), (" 7 ", "00007"), ("01310", "01310"), ("01310-100", "01310-100"), (" ", None)],
)
def test_zip(macro: Any, text: str, expected: str | None) -> None:
    assert macro("parse_zip", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" SÃO   Paulo ", "sao paulo"),
        (f"Mogi{NBSP}\tDas Cruzes", "mogi das cruzes"),
        ("Sa\u0303o João d'Aliança", "sao joao d'alianca"),
        ("ÀÉÎÕÜÇ", "aeiouc"),
        ("", None),
    ],
)
def test_city(macro: Any, text: str, expected: str | None) -> None:
    assert macro("parse_city", text) == expected


@pytest.mark.parametrize(
    ("dividend", "divisor", "expected"),
    [(1, 2, 1), (-1, 2, -1), (5, 2, 3), (-5, 2, -3), (1, 3, 0), (-1, 3, 0), (2, 3, 1), (0, 7, 0), (7, 7, 1)],
)
def test_round_quotient_by_hand(macro: Any, dividend: int, divisor: int, expected: int) -> None:
    assert macro("round_quotient", dividend, divisor) == expected


def test_round_quotient_is_half_away_from_zero(macro: Any) -> None:
    pairs = [(dividend, divisor) for dividend in range(-30, 31) for divisor in range(1, 9)]
    for dividend, divisor in [*pairs, (10**20 + 5, 10), (10**20 + 4, 10), (-(10**20) - 5, 10)]:
        whole, rest = divmod(abs(dividend), divisor)
        rounded = whole + (2 * rest >= divisor)
        assert macro("round_quotient", dividend, divisor) == (rounded if dividend >= 0 else -rounded)
