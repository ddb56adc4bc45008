"""`audit.snapshots`, `audit.entity_accounts` and `audit.publications`: what an audit found and what was published."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from medallion.engines.postgres import Cursor


@dataclass(frozen=True)
class TableState:
    """The current snapshot of a table of the lake.

    committed_at: UTC. added_records: records added since the last publication. columns: those of the snapshot.
    """

    table_name: str
    snapshot_id: int
    committed_at: datetime
    total_records: int
    added_records: int
    columns: list[str]


@dataclass(frozen=True)
class Publication:
    """A publication and the state of the lake that it was built from."""

    batch: int
    published_batch: int
    snapshots: dict[str, int]


def record_snapshots(cursor: Cursor, batch: int, states: Iterable[TableState]) -> None:
    """Record the snapshots that the audit of a run found; may be repeated."""
    cursor.executemany(
        """
        insert into audit.snapshots
        values (%(batch)s, %(table_name)s, %(snapshot_id)s, %(committed_at)s, %(total_records)s)
        on conflict (batch, table_name) do update set
            snapshot_id = excluded.snapshot_id, committed_at = excluded.committed_at,
            total_records = excluded.total_records
        """,
        [asdict(state) | {"batch": batch} for state in states],
    )


def record_accounts(cursor: Cursor, accounts: Iterable[dict[str, Any]]) -> None:
    """Record rows of the lake's `silver.entity_accounts`; may be repeated."""
    cursor.executemany(
        """
        insert into audit.entity_accounts values (
            %(batch)s, %(entity)s, %(read)s, %(current)s, %(deleted)s,
            %(superseded)s, %(quarantined)s, %(latest)s, %(rejected_latest)s, %(unparsable_latest)s
        )
        on conflict (batch, entity) do update set
            read = excluded.read, current = excluded.current, deleted = excluded.deleted,
            superseded = excluded.superseded, quarantined = excluded.quarantined,
            latest = excluded.latest, rejected_latest = excluded.rejected_latest,
            unparsable_latest = excluded.unparsable_latest
        """,
        accounts,
    )


def read_recent_accounts(
    cursor: Cursor, entities: Iterable[str], published_batch: int, rows: int
) -> dict[str, list[dict[str, Any]]]:
    """Return the newest accounts of published batches, by entity: as many as are needed for `rows` keys.

    Accounts above `published_batch` are left out, because the next job reads their rows again.
    """
    cursor.execute(
        """
        with accounts as (
            select
                accounts.entity,
                accounts.batch,
                accounts.latest,
                accounts.rejected_latest,
                accounts.unparsable_latest,
                accounts.accepted,
                sum(accounts.latest) over newest_first - accounts.latest as later
            from audit.entity_accounts as accounts
            inner join audit.publications on accounts.batch = publications.batch
            where accounts.entity = any(%s) and accounts.batch <= %s and accounts.latest > 0
            window newest_first as (partition by accounts.entity order by accounts.batch desc)
        )

        select * from accounts where later < %s order by batch desc
        """,
        ([*entities], published_batch, rows),
    )
    accounts: dict[str, list[dict[str, Any]]] = {}
    for row in cursor.fetchall():
        accounts.setdefault(row.entity, []).append(row._asdict())
    return accounts


def accept_accounts(cursor: Cursor, accounts: Iterable[dict[str, Any]]) -> None:
    """Record that a person accepted the rejected rows of some accounts."""
    cursor.executemany(
        "update audit.entity_accounts set accepted = true where batch = %(batch)s and entity = %(entity)s",
        accounts,
    )


def read_publications(cursor: Cursor, within: timedelta | None = None) -> list[Publication]:
    """Return the publications, newest first; only those of the last `within`, if that is given."""
    cursor.execute(
        "select batch, published_batch, snapshots from audit.publications"
        " where %(within)s::interval is null or published_at > now() - %(within)s::interval order by batch desc",
        {"within": within},
    )
    return [Publication(*row) for row in cursor.fetchall()]


def tables_of_last_publication(cursor: Cursor) -> set[str]:
    """Return the tables of the lake that the newest publication was built from."""
    cursor.execute("select snapshots from audit.publications order by batch desc limit 1")
    row = cursor.fetchone()
    return set(row.snapshots) if row else set()
