"""What the models expect of the source's tables, checked before anything is written."""

import logging

from medallion.engines.postgres import transaction
from medallion.project.manifest import source_columns
from medallion.settings import SOURCE_CONNECTION

log = logging.getLogger(__name__)


class SourceContractError(Exception):
    """The source lacks something; the message names it all."""


def check_source() -> None:
    """Compares the source's schema `sales` with the models. Logs a warning for each column that they do not know.

    Raises SourceContractError naming every missing table and column.
    """
    with transaction(SOURCE_CONNECTION) as cursor:
        cursor.execute(
            "select table_name, array_agg(column_name::text) as columns from information_schema.columns"
            " where table_schema = 'sales' group by table_name"
        )
        compare(source_columns(), {row.table_name: set(row.columns) for row in cursor.fetchall()})


def compare(expected: dict[str, set[str]], found: dict[str, set[str]]) -> None:
    """Both: table -> columns. Raises and logs as `check_source` does."""
    missing = [f"table sales.{name}" for name in sorted(expected.keys() - found.keys())]
    for table in sorted(expected.keys() & found.keys()):
        missing += [f"column sales.{table}.{name}" for name in sorted(expected[table] - found[table])]
        for name in sorted(found[table] - expected[table]):
            log.warning(
                "The source has a new column sales.%s.%s: bronze keeps it if Trino reads its type and its name is not"
                " reserved; silver will, once it is modelled.",
                table,
                name,
            )
    if missing:
        raise SourceContractError(
            f"The source has no {', no '.join(missing)}, or its reader may not see it. Nothing was written."
            " Put it back, or take it out of the models"
            " (include/dbt/models/bronze/sources.yml and include/spark_jobs/entities.py)."
        )
