"""Compute with DuckDB, from the source's rows, the tables that the pipeline must produce.

Tests compare the pipeline's tables with these. No code is shared with the pipeline, so that they do not share errors.
"""

from .compare import canonical_key, compare
from .entities import ENTITIES
from .model import GOLD, Expected, expected_from_csv, expected_from_source

__all__ = [
    "ENTITIES",
    "GOLD",
    "Expected",
    "canonical_key",
    "compare",
    "expected_from_csv",
    "expected_from_source",
]
