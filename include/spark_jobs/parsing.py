"""How the shop's text becomes typed, standardised values.

Every `Kind` first strips its text; what is empty then is null. A value that does not match its kind is null as well:
patterns decide before any cast, so that nothing depends on Spark's ANSI mode.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import Column
from pyspark.sql import functions as F

# Without surrogates: the look-behind sees half of a character beyond U+FFFF as one. Without what is not assigned:
# an older Java takes a newer emoji for that.
BLANK = r"[\s\p{Z}\p{C}&&[^\p{Cs}\p{Cn}]]"
# The look-behind starts the second run of blanks only at its beginning: linear, however long the run.
OUTER_BLANKS = rf"^{BLANK}+|(?<!{BLANK}){BLANK}+$"

# `0*` lets leading zeros through; the counts that follow are what the types can hold.
INTEGER_PATTERN = r"^-?0*[0-9]{1,19}$"
DECIMAL_PATTERN = r"^-?0*[0-9]{1,16}(\.[0-9]{1,2})?$"
COORDINATE_PATTERN = r"^-?[0-9]+(\.[0-9]+)?$"
TIMESTAMP_PATTERN = r"^(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2} ([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$"


def _accented_letters() -> tuple[str, str]:
    """Return the letters below U+2000 that decompose into one letter and marks, and those letters, pairwise."""
    accented, plain = [], []
    for letter in map(chr, range(0x80, 0x2000)):
        bare = [part for part in unicodedata.normalize("NFD", letter) if not unicodedata.combining(part)]
        if len(bare) == 1 and bare[0] != letter:
            accented.append(letter)
            plain.append(bare[0])
    return "".join(accented), "".join(plain)


ACCENTED, PLAIN = _accented_letters()


def stripped(text: Column) -> Column:
    """Strip white space, separators, control and format characters at both ends; null if nothing is left."""
    return F.nullif(F.regexp_replace(text, OUTER_BLANKS, ""), F.lit(""))


def integer(text: Column) -> Column:
    """Parse `-?digits` that fit a bigint."""
    return F.when(text.rlike(INTEGER_PATTERN), text.try_cast("bigint"))


def decimal(text: Column) -> Column:
    """Parse `-?digits` with at most two decimals that fit decimal(18,2)."""
    return F.when(text.rlike(DECIMAL_PATTERN), text.try_cast("decimal(18,2)"))


def coordinate(text: Column) -> Column:
    """Parse a plain decimal number of any scale as double."""
    return F.when(text.rlike(COORDINATE_PATTERN), text.try_cast("double"))


def timestamp(text: Column) -> Column:
    """Parse `YYYY-MM-DD HH:MM:SS`, a real date from year 1 on, as wall-clock time without zone."""
    return F.when(text.rlike(TIMESTAMP_PATTERN), text.try_cast("timestamp_ntz"))


def city(text: Column) -> Column:
    """Lower the case, remove accents, make inner blanks single."""
    bare = F.regexp_replace(F.translate(text, ACCENTED, PLAIN), r"\p{M}+", "")
    return stripped(F.regexp_replace(F.lower(bare), r"[\s\p{Z}]+", " "))


def zip_prefix(text: Column) -> Column:
    """Pad with zeros on the left to five characters; a longer text stays whole."""
    return F.lpad(text, F.greatest(F.lit(5), F.length(text)), F.lit("0"))


@dataclass(frozen=True)
class Kind:
    """What a source column holds: its type in silver, and how stripped text becomes it (null if it can't)."""

    sql_type: str
    comment: str
    parse: Callable[[Column], Column]


TEXT = Kind("string", "text, stripped", lambda text: text)
CITY = Kind("string", "city: lower case, no accents, single blanks", city)
ZIP_PREFIX = Kind("string", "zip prefix, padded to five digits", zip_prefix)
INTEGER = Kind("bigint", "whole number", integer)
DECIMAL = Kind("decimal(18,2)", "money or measure", decimal)
COORDINATE = Kind("double", "degrees", coordinate)
TIMESTAMP = Kind("timestamp_ntz", "wall-clock time of the shop, without zone", timestamp)
