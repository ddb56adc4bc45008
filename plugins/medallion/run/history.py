"""The attempts of a run's tasks, in the order of its graph: which tasks may have missed rows that others read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from medallion.engines.postgres import Cursor
from medallion.names import BUILD_ENTITIES, Group, Role, place_of
from medallion.run.attempts import run_of
from medallion.store.attempts import Attempt, last_attempts
from medallion.store.pipeline import read_pipeline


@dataclass(frozen=True)
class RunHistory:
    """A run as seen by one of its tasks, the reader. Pure: no database, no Airflow.

    attempts: the last attempt of each task that was attempted.
    upstream: task -> every task before it.
    before: every task before the reader.
    tasks: all tasks of the DAG.
    lease_batch: batch of the run.
    """

    attempts: Mapping[str, Attempt]
    upstream: Mapping[str, frozenset[str]]
    before: frozenset[str]
    tasks: frozenset[str]
    lease_batch: int

    def late_writers(self, task: str) -> list[str]:
        """Return the tasks upstream of `task` that were not done when its last attempt began.

        Tasks that are still not done are included. Skipped tasks are left out, because they wrote nothing.
        """
        began = self.attempts[task].start_time
        return [
            other
            for other in sorted(self.upstream[task] & self.attempts.keys())
            if self.attempts[other].status != "skipped"
            and not (self.attempts[other].is_done and self._ended(other) <= began)
        ]

    def batch_read_by_all(self) -> int:
        """Return the batch up to which every task before the reader has read its input.

        A task cleared without its downstream tasks may have written after they had read. If such a task has not
        succeeded, or if a downstream task started before it finished, the previous batch counts. Bronze tasks that
        succeeded never lower the result: what they wrote is what the others read. The result is 0 if the entities were
        marked as done by hand and never built.
        """
        if BUILD_ENTITIES in self.tasks - self.attempts.keys():
            return 0
        # Tasks after the reader are left out: their attempts may be from before the run was cleared.
        read = [
            self._batch_read_by(task)
            for task, attempt in self.attempts.items()
            if task in self.before and (attempt.place.layer != Group.BRONZE or not attempt.is_done)
        ]
        return min(read, default=0)

    def bronze_covers_window(self, resolved_at: datetime) -> bool:
        """Return whether bronze holds everything that the source had in the run's window.

        True if the last attempt of every bronze task succeeded or was skipped, and started after `resolved_at`, when
        the window was recorded (UTC). False if a task was marked as done by hand, or if bronze ran before the run had
        a window.
        """
        captures = [
            task for task in self.tasks | self.attempts.keys() if place_of(task).layer == Group.BRONZE
        ]
        return all(
            task in self.attempts
            and self.attempts[task].is_done
            and self.attempts[task].start_time >= resolved_at
            for task in captures
        )

    def builders(self) -> dict[str, Attempt]:
        """Return, by task, the last attempts of the tasks before the reader that build silver and gold."""
        return self._last_attempts(Role.BUILD)

    def testers(self) -> dict[str, Attempt]:
        """Return, by task, the last attempts of the tasks before the reader that test silver."""
        return self._last_attempts(Role.TEST)

    def _last_attempts(self, role: Role) -> dict[str, Attempt]:
        return {
            task: attempt
            for task, attempt in self.attempts.items()
            if task in self.before
            and attempt.place.role is role
            and attempt.place.layer not in (None, Group.BRONZE)
        }

    def _ended(self, task: str) -> datetime:
        ended = self.attempts[task].end_time
        assert ended is not None  # noqa: S101, an attempt that is done has an end
        return ended

    def _batch_read_by(self, task: str) -> int:
        attempt = self.attempts[task]
        if not attempt.is_done:
            return (attempt.batch or self.lease_batch) - 1
        # Every task that writes claims the lease as it starts, so its attempt has a batch.
        assert attempt.batch is not None  # noqa: S101
        return attempt.batch - any(other in self.before for other in self.late_writers(task))


def load_history(cursor: Cursor, ti: Any) -> RunHistory:
    """Load the history of the run of `ti`, the reader. One query and one walk over the DAG."""
    attempts = last_attempts(cursor, run_of(ti))
    dag = ti.task.dag
    return RunHistory(
        attempts=attempts,
        upstream={task: _tasks_before(dag.get_task(task)) for task in attempts if task in dag.task_ids},
        before=_tasks_before(ti.task),
        tasks=frozenset(dag.task_ids),
        lease_batch=read_pipeline(cursor).lease_batch or 0,
    )


def _tasks_before(operator: Any) -> frozenset[str]:
    return frozenset(operator.get_flat_relative_ids(upstream=True))
