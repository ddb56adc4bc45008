"""Bring silver's entities up to date with bronze.

    spark-submit include/spark_jobs/build_entities.py --run "$MEDALLION_RUN" --entity "$DECLARATION" …

Each `--entity` is a declaration as JSON (see `medallion_spark.entity.Entity`). Linux limits an argument to 128 KB.

The job reads the row versions that bronze got after the published batch, up to this run's batch. It merges their
changes into `silver.stg_<entity>`, `silver.quarantine` and `silver.entity_accounts`, with one commit for each table
that changes. All entities of a submit are resolved side by side before anything is written. The quarantine is written
first, so that it has every version that an entity's table shows as rejected. If a run was cut off, running it again
finishes it. If the run rebuilds silver, the job reads all of bronze: rows that do not result from bronze are deleted,
and rows that are correct already stay unchanged.
"""

import argparse
import logging
import sys

from medallion_spark.entity import Entity
from medallion_spark.run import Run, run_argument, spark_session
from medallion_spark.update import SETTINGS, update_entities

log = logging.getLogger("build_entities")


def entity_argument(text: str) -> Entity:
    """Parse a value of `--entity`. Raises ArgumentTypeError, because argparse shows the message of no other error."""
    try:
        return Entity.from_json(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def main() -> None:
    """Parse the command line and do the run; exit with status 1 and the cause in the first line if it fails."""
    parser = argparse.ArgumentParser(description="Bring silver's entities up to date with bronze.")
    parser.add_argument(
        "--run", required=True, type=run_argument, help="the run's context: the JSON of MEDALLION_RUN"
    )
    parser.add_argument(
        "--entity",
        required=True,
        action="append",
        type=entity_argument,
        dest="entities",
        help="a declaration, as JSON; once for each entity",
    )
    options = parser.parse_args()

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("py4j").setLevel(logging.WARNING)
    try:
        with spark_session("build_entities", SETTINGS) as spark:
            update_entities(Run(spark, options.run), options.entities)
    except Exception as error:
        log.error("failed: %s", error, exc_info=True)  # the cause before the trace
        sys.exit(1)


if __name__ == "__main__":
    main()
