"""`audit.findings`: findings that somebody should know of, a row per kind and subject."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum

from medallion.engines.postgres import Cursor

REMIND_AFTER = timedelta(days=1)  # a finding that stays is passed to the notifier again


class FindingKind(StrEnum):
    """The kind of a finding."""

    NEW_VALUE = "new_value"  # a coded column is one whose check lists its values
    REJECTED_SHARE = "rejected_share"  # a large share of a table's rows is rejected
    PUBLISHING_HELD = "publishing_held"
    STALE_GOLD = "stale_gold"
    NOT_RECONCILED = "not_reconciled"  # a table
    PAUSED_DAG = "paused_dag"


@dataclass(frozen=True)
class Finding:
    """A sentence that somebody should know. The subject identifies it among those of its kind."""

    kind: FindingKind
    subject: str
    message: str


def record_findings(cursor: Cursor, findings: Iterable[Finding]) -> None:
    """Record findings; may be repeated. A finding that was gone and is back counts as new."""
    cursor.executemany(
        """
        insert into audit.findings as known (kind, subject, message) values (%(kind)s, %(subject)s, %(message)s)
        on conflict (kind, subject) do update set
            message = excluded.message,
            seen_at = now(),
            found_at = case when known.cleared_at is null then known.found_at else now() end,
            reported_at = case when known.cleared_at is null then known.reported_at end,
            cleared_at = null
        """,
        [asdict(finding) for finding in findings],
    )


def clear_findings(
    cursor: Cursor, kind: FindingKind, *, but: Collection[str], among: Collection[str] | None = None
) -> None:
    """Record that all subjects of a kind but some are no longer found; only those `among` these, if it is given."""
    cursor.execute(
        """
        update audit.findings set cleared_at = now()
        where
            kind = %(kind)s and cleared_at is null and not subject = any(%(but)s)
            and (%(among)s::text[] is null or subject = any(%(among)s))
        """,
        {"kind": kind, "but": [*but], "among": None if among is None else [*among]},
    )


def unreported_findings(cursor: Cursor) -> list[Finding]:
    """Return the findings that nobody was notified of, oldest first; after a day a finding that stays is due again.

    A new value is named once.
    """
    cursor.execute(
        """
        select kind, subject, message from audit.findings
        where
            cleared_at is null
            and (reported_at is null or kind <> %s and reported_at < now() - %s)
        order by found_at, kind, subject
        """,
        (FindingKind.NEW_VALUE, REMIND_AFTER),
    )
    return [Finding(FindingKind(row.kind), row.subject, row.message) for row in cursor.fetchall()]


def mark_reported(cursor: Cursor, finding: Finding) -> None:
    """Record that somebody was notified of a finding."""
    cursor.execute(
        "update audit.findings set reported_at = now() where kind = %s and subject = %s",
        (finding.kind, finding.subject),
    )
