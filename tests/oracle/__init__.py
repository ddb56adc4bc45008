"""The tables that the pipeline must produce, computed by DuckDB from only the source's rows.

Nothing here is shared with the pipeline: tests compare its tables with these.
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
