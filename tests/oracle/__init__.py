"""What the pipeline must produce, computed from the source's rows alone, in DuckDB.

Nothing here is shared with the pipeline: tests hold its tables against these.
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
