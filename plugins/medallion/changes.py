"""Whether there is anything to make of bronze: a run without news starts no Spark, and makes no model again."""

from medallion.manifest import model_tables
from medallion.run_state import RunState


def anything_new(run: RunState, tables: list[str]) -> bool:
    """Whether one of the bronze tables has rows above the published batch, or all of bronze is to be read again.

    It is where a rebuild is asked for, or a model was never published. Metadata alone tells, read by pyiceberg: the
    greatest `_batch` of each data file.
    """
    # A second of imports that these tasks alone need.
    from pyiceberg.catalog import load_catalog

    if run.rebuild != "none" or not model_tables() <= run.snapshots.keys():
        return True
    catalog = load_catalog("lake")
    newer = f"_batch > {run.published_batch}"
    return any(
        any(catalog.load_table(f"bronze.{table}").scan(row_filter=newer).plan_files()) for table in tables
    )
