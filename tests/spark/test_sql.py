"""Quoting of names and values in Spark's statements."""

from itertools import pairwise

from pyspark.sql import SparkSession

from medallion_spark.sql import quote, text_literal
from support.nasty import PIECES


def test_names_and_values_of_any_kind_are_read_as_they_are(spark: SparkSession) -> None:
    texts = [*PIECES, *(f"{first}{second}" for first, second in pairwise(PIECES)), "".join(PIECES)]
    columns = ", ".join(f"{text_literal(text)} as {quote(text)}" for text in texts)
    [row] = spark.sql(f"select {columns}").collect()
    assert row.asDict() == {text: text for text in texts}
