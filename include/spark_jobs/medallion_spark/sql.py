"""Names in Spark SQL."""

from pyspark.sql import Column
from pyspark.sql import functions as F


def quote(name: str) -> str:
    """Return a name in backticks. Without them, a dot starts a field's name, and a blank ends the name."""
    return "`" + name.replace("`", "``") + "`"


def column(name: str, alias: str = "") -> Column:
    """Return the column of exactly this name, of the relation `alias` if one is given."""
    return F.col(f"{alias}.{quote(name)}" if alias else quote(name))


def text_literal(text: str) -> str:
    """Return a text as a literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
