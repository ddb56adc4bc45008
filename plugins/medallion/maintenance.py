"""Maintenance: measure the tables with pyiceberg, expire snapshots and orphans with Trino, delete old records."""

import logging
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import timedelta
from time import time
from typing import Any

from airflow.providers.trino.hooks.trino import TrinoHook
from trino.exceptions import DatabaseError

from medallion.engines.files import delete_left_projects, delete_old_logs
from medallion.engines.iceberg import iterate_tables, load_lake
from medallion.engines.leftovers import tag
from medallion.engines.postgres import quote, render_sql, transaction
from medallion.names import DAGS, is_gold
from medallion.project.manifest import model_tables, sort_orders
from medallion.run.state import TARGET_FILE_BYTES, read_state
from medallion.settings import TRINO_CONNECTION, settings
from medallion.store.audits import read_publications
from medallion.store.retention import delete_old_records

log = logging.getLogger(__name__)

# A data file below this size counts as small: three quarters of the target, as in Iceberg's compaction.
SMALL_BYTES = TARGET_FILE_BYTES * 3 // 4
SMALL_MANIFEST_BYTES = 4 * 1024 * 1024  # half of Iceberg's target
# A table is compacted if a partition has this many small files, or a data file this many delete files. This is
# Iceberg's default.
MIN_INPUT_FILES = 5
MIN_SMALL_MANIFESTS = 10  # a table with this many small manifests is compacted
LONGEST_RUN = timedelta(days=1)  # no run takes longer, so older temporary folders are unused
CLOCK_MARGIN = timedelta(hours=1)  # the engines' clocks may differ from ours


class MaintenanceError(Exception):
    """Some tables could not be maintained; the message names them and the log has the causes."""


@dataclass(frozen=True)
class TableFigures:
    """The files of a table as of its current snapshot.

    most_small_files: the greatest number of small data files in a partition or, if that is greater, of delete files of
    a data file.
    """

    data_files: int
    delete_files: int
    bytes: int
    most_small_files: int
    manifests: int
    small_manifests: int
    snapshots: int

    def __str__(self) -> str:
        return (
            f"{self.data_files} data files, {self.delete_files} delete files, {self.bytes:,} bytes,"
            f" {self.manifests} manifests, {self.snapshots} snapshots"
        )


def measure_table(table: Any) -> TableFigures:
    """Return the figures of a pyiceberg table, from its metadata; all 0 if nothing was ever written."""
    current = table.current_snapshot()
    if not current:
        return TableFigures(0, 0, 0, 0, 0, 0, 0)
    small: Counter[Any] = Counter()
    deletes = [0]
    for scanned in table.scan().plan_files():
        file = scanned.file
        small[file.spec_id, file.partition] += file.file_size_in_bytes < SMALL_BYTES
        deletes.append(len(scanned.delete_files))
    manifests = current.manifests(table.io)
    return TableFigures(
        data_files=int(current.summary["total-data-files"]),
        delete_files=int(current.summary["total-delete-files"]),
        bytes=int(current.summary["total-files-size"]),
        most_small_files=max([*small.values(), *deletes]),
        manifests=len(manifests),
        small_manifests=sum(manifest.manifest_length < SMALL_MANIFEST_BYTES for manifest in manifests),
        snapshots=len(table.metadata.snapshots),
    )


def measure() -> list[dict[str, Any]]:
    """Measure every table of the lake; changes nothing.

    Returns per table its `name`, its `figures`, the columns that its model says it is `sorted_by`, whether it needs to
    be compacted (`compact`), and whether all of its files must be sorted (`sort`), because the table has another order.
    """
    measured = []
    for name, table in iterate_tables(load_lake()):
        figures = measure_table(table)
        sorted_by = sort_orders().get(name, [])
        order = [table.schema().find_column_name(field.source_id) for field in table.sort_order().fields]
        sort = bool(sorted_by) and order != sorted_by
        log.info("%s: %s; at most %d small files in a partition", name, figures, figures.most_small_files)
        measured.append(
            {
                "name": name,
                "figures": asdict(figures),
                "sorted_by": sorted_by,
                "sort": sort,
                "compact": (
                    sort
                    or figures.most_small_files >= MIN_INPUT_FILES
                    or figures.small_manifests >= MIN_SMALL_MANIFESTS
                ),
            }
        )
    return measured


def expire_table(table: Any, published: Collection[int], statement_tag: str) -> None:
    """Expire old snapshots of a pyiceberg table, and remove files that no snapshot references; may be repeated.

    Keeps the current snapshot, those younger than MEDALLION_SNAPSHOT_RETENTION, and the oldest one of `published` with
    all later ones. `statement_tag`: marks the statements as a task's. Raises trino.exceptions.DatabaseError.
    """
    metadata, kept_for = table.metadata, settings().snapshot_retention
    for snapshot in metadata.snapshots:
        if snapshot.snapshot_id in published:
            kept_for = max(kept_for, timedelta(seconds=time() - snapshot.timestamp_ms / 1000) + CLOCK_MARGIN)
    oldest_kept = (time() - kept_for.total_seconds()) * 1000
    statements = render_sql(
        "maintenance/expire.sql",
        tag=statement_tag,
        catalog=settings().lake_catalog,
        table=".".join(map(quote, table.name())),
        kept_for=f"{kept_for.total_seconds():.0f}s",
        has_expired=any(snapshot.timestamp_ms < oldest_kept for snapshot in metadata.snapshots),
    )
    trino: Any = TrinoHook(TRINO_CONNECTION)  # type: ignore[no-untyped-call]
    # Split the statements here: Airflow's splitting drops comments, and the tag is a comment.
    trino.run(statements.decode().split(";"))


def drop_table(name: str, statement_tag: str) -> None:
    """Drop a table of the lake, `schema.name`, with its files. Raises trino.exceptions.DatabaseError."""
    trino: Any = TrinoHook(TRINO_CONNECTION)  # type: ignore[no-untyped-call]
    schema, _, table = name.partition(".")
    trino.run(f"/* {statement_tag} */ drop table if exists {settings().lake_catalog}.{schema}.{quote(table)}")


def prune() -> dict[str, int]:
    """Delete old records of the store, and old files on this machine; return how many of each kind.

    Records are old after MEDALLION_AUDIT_RETENTION, Airflow's logs of our DAGs after MEDALLION_LOG_RETENTION, and
    temporary folders of killed dbt tasks after LONGEST_RUN.
    """
    with transaction() as cursor:
        records = delete_old_records(cursor, settings().audit_retention, settings().snapshot_retention)
    return records | {
        "log files": delete_old_logs(DAGS, settings().log_retention),
        "temporary folders": delete_left_projects(LONGEST_RUN),
    }


def expire(ti: Any, measured: list[dict[str, Any]]) -> None:
    """Expire snapshots and orphan files of each measured table; log its figures before and after.

    A gold table whose model left the project is dropped as soon as no publication within MEDALLION_SNAPSHOT_RETENTION
    has it.

    Raises MaintenanceError naming the tables that failed, after all others are done.
    """
    publications, catalog = [read_state(ti).snapshots], load_lake()
    with transaction() as cursor:
        # Even a recent publication may use an old snapshot of a table, if the table seldom changes.
        publications += [
            publication.snapshots for publication in read_publications(cursor, settings().snapshot_retention)
        ]
        published = {name for publication in read_publications(cursor) for name in publication.snapshots}
    failed, modelled = [], model_tables()
    for name, before in ((table["name"], TableFigures(**table["figures"])) for table in measured):
        needed = {snapshots[name] for snapshots in publications if name in snapshots}
        # Keep a table without a model as long as gold can be rolled back to a publication that has it.
        is_left = is_gold(name) and name not in modelled and name in published and not needed
        try:
            if is_left:
                drop_table(name, tag(ti))
            else:
                expire_table(catalog.load_table(name), needed, tag(ti))
        except DatabaseError as error:
            log.error("%s: %s", name, error)
            failed.append(name)
        else:
            log.info(
                "%s: %s; before: %s",
                name,
                "dropped, because its model left the project"
                if is_left
                else measure_table(catalog.load_table(name)),
                before,
            )
    if failed:
        raise MaintenanceError(f"Could not maintain {', '.join(failed)}; the lines above have the causes")
