"""The names of models, made from names of the source."""

import re
from collections.abc import Mapping

from medallion.names import staging_table


def plain_name(name: str) -> str:
    """Return a name in lower case, with `_` for all characters but a-z and 0-9; empty if only `_` would be left."""
    plain = re.sub(r"[^a-z0-9_]", "_", name.lower())
    return plain if plain.strip("_") else ""


def model_name(schema: str, table: str, models: Mapping[str, tuple[str, str] | None]) -> str | None:
    """Return the name of a table's model; None if its name has no character of an identifier.

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
    free = (name for name in candidates if name not in models and staging_table(name) not in models)
    return next((name for name in free if not name[0].isdigit()), None)
