"""Names of models and columns for names of the source."""

import re
from collections.abc import Iterable, Mapping
from itertools import chain, count

# Columns that Iceberg, or bronze while it captures, has of its own.
BRONZE_COLUMNS = frozenset(
    """
    _file _pos _deleted _spec_id _partition _row_id _last_updated_sequence_number _commit_snapshot_id _change_type
    _change_ordinal _op _hash _extracted_at _batch _changed_at _unkept _key _copy _is_delete _source_hash
    _source_version _bronze_version _latest_updated_at _finding
    """.split()  # noqa: SIM905
)


def plain_name(name: str) -> str:
    """Return a name in lower case, with `_` for each other character; empty if nothing of it is left."""
    plain = re.sub(r"[^a-z0-9_]", "_", name.lower())
    return plain if plain.strip("_") else ""


def bronze_names(columns: Iterable[str]) -> dict[str, str]:
    """Return each column's name in bronze: in lower case, numbered if an earlier column or bronze itself has it."""
    names: dict[str, str] = {}
    for column in columns:
        lower = column.lower()
        numbered = (f"{lower}_{number}" for number in count(2))
        candidates = numbered if lower in BRONZE_COLUMNS else chain([lower], numbered)
        names[column] = next(name for name in candidates if name not in names.values())
    return names


def model_name(schema: str, table: str, models: Mapping[str, tuple[str, str] | None]) -> str | None:
    """Return the name of a table's model; None if no identifier is left of its name.

    models: the project's models, each with the source table that it captures, if it captures one.
    """
    for name, captured in models.items():
        if captured == (schema, table):
            return name
    short, prefix = plain_name(table), plain_name(schema)
    if not short:
        return None
    long = f"{prefix}_{short}" if prefix else f"source_{short}"
    candidates = [long] if short[0].isdigit() else [short, long]
    candidates += [f"{long}_{number}" for number in range(2, 100)]
    free = (name for name in candidates if name not in models and f"stg_{name}" not in models)
    return next((name for name in free if not name[0].isdigit()), None)
