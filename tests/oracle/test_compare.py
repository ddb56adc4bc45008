"""The text that `compare` returns for different tables, and that a failing test prints."""

from decimal import Decimal

import pytest

from .compare import canonical_key, compare


def test_equal_in_any_order() -> None:
    assert compare([(1, "a"), (2, None)], [(2, None), (1, "a")]) == ""
    assert compare([], []) == ""


def test_each_kind_of_difference() -> None:
    expected = [("a", 1), ("b", 2), ("c", 3)]
    actual = [("a", 1), ("a", 1), ("b", 9), ("d", 4)]
    assert compare(expected, actual, ["id", "n"]).splitlines() == [
        "expected 3 rows, got 4",
        "missing rows: 1",
        "  ('c', 3)",
        "extra rows: 1",
        "  ('d', 4)",
        "rows more than once: 1",
        "  ('a',): 2 times",
        "differing rows: 1",
        "  ('b',): n: expected 2, got 9",
    ]


def test_long_lists_are_cut() -> None:
    assert compare([(n,) for n in range(9)], [], limit=1).splitlines()[1:] == [
        "missing rows: 9",
        "  (0,)",
        "  ... and 8 more",
    ]


@pytest.mark.parametrize(
    ("want", "have"),
    [
        (1, Decimal(1)),
        (Decimal("1.50"), Decimal("1.5")),
        (None, ""),
        (1.0, 1.0001),
    ],
)
def test_cells_that_differ(want: object, have: object) -> None:
    assert compare([("k", want)], [("k", have)]) == (
        f"expected 1 rows, got 1\ndiffering rows: 1\n  ('k',): column 1: expected {want!r}, got {have!r}"
    )


def test_floats_may_differ_in_the_last_digit() -> None:
    assert compare([("k", 0.1 + 0.2)], [("k", 0.3)]) == ""


def test_a_column_too_many() -> None:
    assert "nothing: expected 'nothing', got 2" in compare([("k",)], [("k", 2)])


def test_rows_must_have_a_key() -> None:
    with pytest.raises(ValueError, match="first 1 columns are no key"):
        compare([("a", 1), ("a", 2)], [])


def test_canonical_key() -> None:
    assert canonical_key('[ "é", 12, null ]') == canonical_key('["\\u00e9","12",null]') == '["é","12",null]'
