"""Maintenance of the lake's tables: what each needs, as pyiceberg tells; what is past its time goes, by Trino."""

import logging
from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import timedelta
from time import time
from typing import Any

from airflow.providers.trino.hooks.trino import TrinoHook
from trino.exceptions import DatabaseError

from medallion.engines.iceberg import load_lake, tables
from medallion.engines.leftovers import tag
from medallion.engines.postgres import rendered, transaction
from medallion.project.manifest import sort_orders
from medallion.run.state import run_state
from medallion.settings import TRINO_CONNECTION, settings

log = logging.getLogger(__name__)

TARGET_BYTES = 128 * 1024 * 1024
# Below this a data file is small: three quarters of the target, as Iceberg's compaction has it.
SMALL_BYTES = TARGET_BYTES * 3 // 4
SMALL_MANIFEST_BYTES = 4 * 1024 * 1024  # half of what Iceberg aims at
# So many small files in a partition, or deletes of a data file, are worth a rewrite: its compaction's default.
MIN_INPUT_FILES = 5
# And so many small manifests of a table.
MIN_SMALL_MANIFESTS = 10
# Engines' clocks may differ from ours.
CLOCK_MARGIN = timedelta(hours=1)


class MaintenanceError(Exception):
    """Tables could not be maintained; the message names them, the log says why."""


@dataclass(frozen=True)
class Figures:
    """What a table consists of as of its current snapshot.

    most_small_files: the most small data files that a partition has, or deletes that a data file has.
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


def figures(table: Any) -> Figures:
    """The figures of a pyiceberg table, from its metadata alone; all 0 where nothing was ever written."""
    current = table.current_snapshot()
    if not current:
        return Figures(0, 0, 0, 0, 0, 0, 0)
    small: Counter[Any] = Counter()
    deletes = [0]
    for scanned in table.scan().plan_files():
        file = scanned.file
        small[file.spec_id, file.partition] += file.file_size_in_bytes < SMALL_BYTES
        deletes.append(len(scanned.delete_files))
    manifests = current.manifests(table.io)
    return Figures(
        data_files=int(current.summary["total-data-files"]),
        delete_files=int(current.summary["total-delete-files"]),
        bytes=int(current.summary["total-files-size"]),
        most_small_files=max([*small.values(), *deletes]),
        manifests=len(manifests),
        small_manifests=sum(manifest.manifest_length < SMALL_MANIFEST_BYTES for manifest in manifests),
        snapshots=len(table.metadata.snapshots),
    )


def measure() -> list[dict[str, Any]]:
    """Tells what every table of the lake needs; changes nothing.

    Per table its `name`, its `figures`, the columns that its model says it is `sorted_by`, whether it is to be
    compacted (`compact`), and whether all of it is to be sorted (`sort`), as the table has another order yet.
    """
    measured = []
    for name, table in tables(load_lake()):
        found = figures(table)
        sorted_by = sort_orders().get(name, [])
        order = [table.schema().find_column_name(field.source_id) for field in table.sort_order().fields]
        sort = bool(sorted_by) and order != sorted_by
        log.info("%s: %s; at most %d small ones in a partition", name, found, found.most_small_files)
        measured.append(
            {
                "name": name,
                "figures": asdict(found),
                "sorted_by": sorted_by,
                "sort": sort,
                "compact": (
                    sort
                    or found.most_small_files >= MIN_INPUT_FILES
                    or found.small_manifests >= MIN_SMALL_MANIFESTS
                ),
            }
        )
    return measured


def expire_table(table: Any, published: Collection[int], tagged: str) -> None:
    """Removes snapshots of a pyiceberg table past their time, and files that no snapshot knows; may be repeated.

    Keeps what is younger than the setting, the current snapshot, and those of `published` with all later ones.
    `tagged`: what marks the statements as a task's. Raises trino.exceptions.DatabaseError.
    """
    metadata, kept_for = table.metadata, settings().snapshot_retention
    for snapshot in metadata.snapshots:
        if snapshot.snapshot_id in published:
            kept_for = max(kept_for, timedelta(seconds=time() - snapshot.timestamp_ms / 1000) + CLOCK_MARGIN)
    oldest_kept = (time() - kept_for.total_seconds()) * 1000
    statements = rendered(
        "expire.sql",
        tag=tagged,
        table=".".join(table.name()),
        kept_for=f"{kept_for.total_seconds():.0f}s",
        has_expired=any(each.timestamp_ms < oldest_kept for each in metadata.snapshots),
    )
    trino: Any = TrinoHook(TRINO_CONNECTION)  # type: ignore[no-untyped-call]
    # Airflow's own splitting drops comments, and with them the tag.
    trino.run(statements.decode().split(";"))


def expire(ti: Any, measured: list[dict[str, Any]]) -> None:
    """Does `expire_table` for each table measured; logs what it consists of now, and did before.

    Raises MaintenanceError naming the tables that failed, after all others are done.
    """
    kept, catalog = [run_state(ti).snapshots], load_lake()
    with transaction() as cursor:
        # A table that seldom changes has one snapshot, long since old, for many publications.
        cursor.execute(
            "select snapshots from audit.publications where published_at > now() - %s",
            (settings().snapshot_retention,),
        )
        kept += [row.snapshots for row in cursor.fetchall()]
    failed = []
    for name, before in ((table["name"], Figures(**table["figures"])) for table in measured):
        try:
            published = {snapshots[name] for snapshots in kept if name in snapshots}
            expire_table(catalog.load_table(name), published, tag(ti))
        except DatabaseError as error:
            log.error("%s: %s", name, error)
            failed.append(name)
        else:
            log.info("%s: %s; before: %s", name, figures(catalog.load_table(name)), before)
    if failed:
        raise MaintenanceError(f"not maintained: {', '.join(failed)}; the lines above say why")
