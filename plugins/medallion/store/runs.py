"""`audit.runs`: the kind and the window of each run, resolved once, and the code that the run began with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from medallion.engines.postgres import Cursor
from medallion.store.pipeline import Run


@dataclass(frozen=True)
class RunRecord:
    """A row of `audit.runs`; times are UTC, None for a run without a window.

    extract_from: the window's start minus the lookback. resolved_at: when the window was recorded.
    code: digest of the project's files; None if the run began under an earlier version. code_since: when the run began
    with this code, or later requested a rebuild. fingerprints: table of the lake -> fingerprint of this code.
    """

    kind: str
    window_start: datetime | None
    window_end: datetime | None
    extract_from: datetime | None
    resolved_at: datetime
    code: str | None = None
    code_since: datetime | None = None
    fingerprints: dict[str, str] = field(default_factory=dict)


def record_run(cursor: Cursor, run: Run, record: RunRecord, is_first_attempt: bool) -> RunRecord:
    """Record a run's kind and window, and return the resulting row.

    A run whose tasks were cleared keeps the window that it had. The window is replaced if the run had none, if this is
    the first attempt of a run recreated under its old id, or if another range was requested.
    `record.resolved_at` is not used: the database's clock counts.
    """
    cursor.execute(
        """
        insert into audit.runs (dag_id, run_id, kind, window_start, window_end, extract_from)
        values (%s, %s, %s, %s, %s, %s)
        on conflict (dag_id, run_id) do update
        set
            kind = excluded.kind,
            window_start = excluded.window_start,
            window_end = excluded.window_end,
            extract_from = excluded.extract_from,
            resolved_at = excluded.resolved_at
        where
            runs.window_start is null or %s
            or excluded.kind = 'ranged' and (runs.kind, runs.window_start, runs.window_end)
            is distinct from (excluded.kind, excluded.window_start, excluded.window_end)
        """,
        (
            run.dag_id,
            run.run_id,
            record.kind,
            record.window_start,
            record.window_end,
            record.extract_from,
            is_first_attempt,
        ),
    )
    row = read_run(cursor, run)
    assert row is not None  # noqa: S101, the statement above has just written the row
    return row


def record_code(cursor: Cursor, run: Run, code: str, fingerprints: Mapping[str, str], requests: bool) -> None:
    """Record the code that a run begins with, which may differ from that of an earlier attempt of its `begin`.

    `requests`: whether this is the first run to request the rebuild of some table.
    """
    cursor.execute(
        """
        update audit.runs
        set
            code_since = case when code = %(code)s and not %(requests)s then code_since else clock_timestamp() end,
            code = %(code)s,
            fingerprints = %(fingerprints)s
        where (dag_id, run_id) = (%(dag_id)s, %(run_id)s)
        """,
        {
            "code": code,
            "requests": requests,
            "fingerprints": json.dumps(fingerprints),
            "dag_id": run.dag_id,
            "run_id": run.run_id,
        },
    )


def read_run(cursor: Cursor, run: Run) -> RunRecord | None:
    """Return the record of a run; None if its window was never resolved."""
    cursor.execute(
        "select kind, window_start, window_end, extract_from, resolved_at, code, code_since, fingerprints"
        " from audit.runs where dag_id = %s and run_id = %s",
        (run.dag_id, run.run_id),
    )
    row: Any = cursor.fetchone()
    return RunRecord(*row) if row else None
