"""`audit.findings`: states of the pipeline and its data that people are notified of, a row per kind and subject."""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum

from medallion.engines.postgres import Cursor

REMIND_AFTER = timedelta(days=1)  # after this time a finding that stays is passed to the notifier again


class FindingKind(StrEnum):
    """The kind of a finding."""

    NEW_VALUE = "new_value"  # a column has a value that its check does not list among the allowed ones
    REJECTED_SHARE = "rejected_share"  # a large share of a table's rows is rejected
    PUBLISHING_HELD = "publishing_held"
    STALE_GOLD = "stale_gold"
    NOT_RECONCILED = "not_reconciled"  # no reconciliation has compared a table for too long
    PAUSED_DAG = "paused_dag"


@dataclass(frozen=True)
class Finding:
    """A message that people are notified of. `subject` identifies it among the findings of its kind."""

    kind: FindingKind
    subject: str
    message: str


def record_findings(cursor: Cursor, findings: Iterable[Finding]) -> None:
    """Record findings; safe to repeat. A finding that was cleared and is found again counts as new."""
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
    """Record that findings of a kind are gone: all subjects, or only those in `among`, but none of those in `but`."""
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
    """Return the findings that are due for a notification, oldest first.

    A finding that stays is due again after REMIND_AFTER. A new value is reported only once.
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
    """Record that the notifier got a finding just now."""
    cursor.execute(
        "update audit.findings set reported_at = now() where kind = %s and subject = %s",
        (finding.kind, finding.subject),
    )
