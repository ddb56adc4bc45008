"""The list of functions that the select of a staging model may call, compared with the functions of Spark."""

import re

from pyspark.sql import SparkSession

from medallion.project.row_functions import ROW_FUNCTIONS

# Groups of functions in Spark's registry that read or return more than one row.
MANY_ROWS = {"agg_funcs", "window_funcs", "generator_funcs"}
# Functions of other groups that read or return more than one row.
ALSO_MANY_ROWS = {"json_tuple", "schema_of_variant_agg", "session_window", "window", "window_time"}
# Functions whose results differ between runs: they read the clock, random numbers, the session or files, or call Java.
OF_A_RUN = {
    "aes_encrypt", "current_catalog", "current_database", "current_date", "current_schema", "current_time",
    "current_timestamp", "current_timezone", "current_user", "curdate", "input_file_block_length",
    "input_file_block_start", "input_file_name", "java_method", "localtimestamp", "monotonically_increasing_id", "now",
    "rand", "randn", "random", "randstr", "reflect", "session_user", "shuffle", "spark_partition_id", "try_reflect",
    "uniform", "unix_timestamp", "user", "uuid", "version",
}  # fmt: skip
# Functions that Spark's parser handles itself, so that they are missing in its registry.
GRAMMAR = {"character", "dec", "numeric", "timestampadd", "timestampdiff", "try_cast", "varchar"}


def test_all_functions_of_one_row_may_be_called_and_no_other(spark: SparkSession) -> None:
    registry = spark._jsparkSession.sessionState().functionRegistry()
    names = registry.listFunction()
    groups = {}
    for number in range(names.size()):
        identifier = names.apply(number)
        groups[identifier.funcName()] = registry.lookupFunction(identifier).get().getGroup()
    assert groups.keys() >= ALSO_MANY_ROWS | OF_A_RUN
    of_one_row = {
        name for name, group in groups.items() if re.fullmatch(r"\w+", name) and group not in MANY_ROWS
    }
    assert of_one_row - ALSO_MANY_ROWS - OF_A_RUN | GRAMMAR == ROW_FUNCTIONS
