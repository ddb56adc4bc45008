"""Compare two tables, and describe their differences in a short text."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

Row = tuple[Any, ...]


def canonical_key(text: str) -> str:
    """Return a raw key, a JSON array, in a form that is the same for all engines: each part is a string or null."""
    parts = [part if part is None or isinstance(part, str) else str(part) for part in json.loads(text)]
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":"))


def _same(expected: Any, actual: Any) -> bool:
    """Return whether two cells have the same type, value and decimal places. Floats must agree in 12 digits."""
    if isinstance(expected, float) and isinstance(actual, float):
        return math.isclose(expected, actual, rel_tol=1e-12)
    return repr(expected) == repr(actual)


def _some(title: str, lines: Sequence[str], limit: int) -> list[str]:
    """Return a title with the number of lines, and the first `limit` lines; an empty list if there are no lines."""
    if not lines:
        return []
    rest = [f"  ... and {len(lines) - limit} more"] if len(lines) > limit else []
    return [f"{title}: {len(lines)}", *(f"  {line}" for line in lines[:limit]), *rest]


def compare(
    expected_rows: Iterable[Sequence[Any]],
    actual_rows: Iterable[Sequence[Any]],
    columns: Sequence[str] = (),
    key: int = 1,
    limit: int = 5,
) -> str:
    """Return how `actual_rows` differ from `expected_rows`; an empty text if they do not.

    The order of the rows does not matter, but their types do: 1 differs from Decimal('1'). The first `key` columns
    identify a row. `columns`: the names to print. `limit`: the maximum number of rows to list for each kind of
    difference (missing rows, extra rows, rows more than once, differing rows).
    """
    expected = [tuple(row) for row in expected_rows]
    actual = [tuple(row) for row in actual_rows]
    theirs = {row[:key]: row for row in actual}
    ours = {row[:key]: row for row in expected}
    if len(ours) < len(expected):
        raise ValueError(f"the first {key} columns are no key of the expected rows: pass a longer `key`")

    width = max((len(row) for row in expected), default=0)
    names = columns or [f"column {i}" for i in range(width)]
    differing = []
    for row_key, row in ours.items():
        cells = [
            f"{column}: expected {want!r}, got {have!r}"
            for column, want, have in zip_longest(names, row, theirs.get(row_key, row), fillvalue="nothing")
            if not _same(want, have)
        ]
        if cells:
            differing.append(f"{row_key!r}: {'; '.join(cells)}")
    twice = [
        f"{row_key!r}: {n} times" for row_key, n in Counter(row[:key] for row in actual).items() if n > 1
    ]
    lines = [
        *_some("missing rows", sorted(repr(row) for k, row in ours.items() if k not in theirs), limit),
        *_some("extra rows", sorted(repr(row) for k, row in theirs.items() if k not in ours), limit),
        *_some("rows more than once", sorted(twice), limit),
        *_some("differing rows", sorted(differing), limit),
    ]
    return "\n".join([f"expected {len(expected)} rows, got {len(actual)}", *lines] if lines else [])
