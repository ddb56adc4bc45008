"""Check that all tasks of a run see the same code, and find the tables that other code has made, to rebuild them."""

import logging
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from medallion.engines.iceberg import load_lake, total_records
from medallion.engines.postgres import transaction
from medallion.names import BRONZE, GOLD, HOURLY_DAG, SILVER
from medallion.project.fingerprint import project_code, table_fingerprints
from medallion.project.manifest import inputs
from medallion.run.attempts import run_of
from medallion.run.lease import lock_pipeline
from medallion.settings import settings
from medallion.store.pipeline import read_pipeline, request_comparison
from medallion.store.runs import RunRecord, record_code

log = logging.getLogger(__name__)


class CodeChangedError(AirflowFailException):
    """The code was deployed in the middle of a run; the message says how to go on."""


class RebuildError(AirflowFailException):
    """A rebuild of the tables made by other code is so large that a person has to ask for it."""


def check_code(run: RunRecord) -> None:
    """Raise CodeChangedError if the project's files are not those that the run began with."""
    if run.code and run.code != project_code():
        raise CodeChangedError(
            "The code was deployed in the middle of this run: include/dbt or include/spark_jobs differ from what its"
            " task `begin` saw. Clear the run from `begin`; or leave it, and the next run publishes everything since."
        )


def begin_with_code(ti: Any, builds: bool, accepted: bool) -> list[str]:
    """Record the code that the run of `ti` begins with; return the tables that other code has made.

    If the run `builds` silver and gold, this requests a rebuild of these tables: this run compares them whole, and so
    does each later one until one has published. Raises RebuildError if the rebuild reads more rows than
    MEDALLION_REBUILD_ROWS, unless `accepted` is true, and ManifestError if there is no manifest of the current files.
    """
    code, current = project_code(), table_fingerprints()
    with transaction() as cursor:
        pipeline = read_pipeline(cursor)
    outdated = [
        name for name in sorted(current) if builds and pipeline.fingerprints.get(name) != current[name]
    ]
    published = [name for name in outdated if name in pipeline.published_snapshots]
    if published:
        log.info("Made by other code than the present one: %s. The run rebuilds them.", describe(published))
    if unpublished := [name for name in outdated if name not in published]:
        log.info("These tables are not published yet: %s. The run builds them whole.", describe(unpublished))
    if not accepted:
        # Check only new requests. Tables that are not published are built whole in any case.
        check_size(sorted({*published} - {*pipeline.outdated}))
    with transaction() as cursor:
        lock_pipeline(cursor, ti)
        record_code(cursor, run_of(ti), code, current, requests=bool({*outdated} - {*pipeline.outdated}))
        if outdated:
            request_comparison(cursor, outdated)
    return outdated


def check_size(outdated: list[str]) -> None:
    """Raise RebuildError if comparing tables whole reads more rows of bronze than MEDALLION_REBUILD_ROWS."""
    if not outdated:
        return
    catalog, limit = load_lake(), settings().rebuild_rows
    rows = sum(total_records(catalog, name) for name in ancestors(outdated) if name.startswith(f"{BRONZE}."))
    if rows > limit:
        layer = SILVER if any(name.startswith(f"{SILVER}.") for name in outdated) else GOLD
        raise RebuildError(
            f"The code has changed since it made the rows of {describe(outdated)}. Rebuilding them reads {rows:,} rows"
            f" of bronze, more than MEDALLION_REBUILD_ROWS ({limit:,}), so no run does it without a request. Nothing"
            f" was written. Run `make rebuild{'' if layer == SILVER else ' LAYER=gold'}` (trigger {HOURLY_DAG} with"
            f" `rebuild` = {layer}), raise the setting, or deploy the earlier code again."
        )


def ancestors(tables: list[str]) -> set[str]:
    """Return tables of the lake and all tables that they are built from, directly or not."""
    inputs_of, pending, reached = inputs(), [*tables], set[str]()
    while pending:
        name = pending.pop()
        if name not in reached:
            reached.add(name)
            pending += inputs_of.get(name, ())
    return reached


def describe(outdated: list[str]) -> str:
    """Return a text that names the tables whose own code changed, and counts those that are built from them."""
    inputs_of = inputs()
    first = [name for name in outdated if not inputs_of.get(name, set()) & {*outdated}]
    built = len(outdated) - len(first)
    return ", ".join(first) + (f", and {built} tables built from them" if built else "")
