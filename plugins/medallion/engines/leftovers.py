"""Ends statements and drivers that an earlier attempt or an earlier run left on an engine.

A statement outlives its killed task and may commit later. Everything that writes therefore carries a tag: Trino
statements as a comment at their start, Spark drivers as the name of their application, clients of Spark Connect as an
option. Statements on a Spark server need no cleanup: the server cancels them when their client's connection breaks.
"""

import os
import re
from contextlib import suppress
from typing import Any

import psutil
from airflow.providers.trino.hooks.trino import TrinoException, TrinoHook
from airflow.sdk import BaseOperator
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed
from trino.exceptions import DatabaseError

from medallion.settings import SPARK_JOBS, TRINO_CONNECTION

# Templates write the tag as `{{ tag(ti) }}`. ANY_TAG does not match the tag `medallion by hand` of people's statements.
TAG = "medallion {dag_id}.{task_id}"
ANY_TAG = r"medallion [\w-]+\.[\w.-]+"

UNFINISHED = r"""
select query_id
from system.runtime.queries
where state not in ('FINISHED', 'FAILED') and regexp_like(query, '^\s*/\* {tag} \*/')
"""
SECONDS = 60


class EngineDownError(Exception):
    """An engine does not answer; the message says which one, and its address."""


def tag(ti: Any) -> str:
    """Return the tag of a task's statements, from its instance or its operator."""
    return TAG.format(dag_id=ti.dag_id, task_id=ti.task_id)


@retry(retry=retry_if_result(bool), wait=wait_fixed(0.5), stop=stop_after_delay(SECONDS))
def end_statements(tag_pattern: str) -> list[str]:
    """End the Trino statements whose tag matches, and wait until they are gone.

    Raises tenacity.RetryError if they still run after a minute, EngineDownError if Trino does not answer.
    """
    trino: Any = TrinoHook(TRINO_CONNECTION)  # type: ignore[no-untyped-call]
    try:
        running = [query_id for (query_id,) in trino.get_records(UNFINISHED.format(tag=tag_pattern))]
    except TrinoException as error:
        where = trino.get_connection(TRINO_CONNECTION)
        raise EngineDownError(
            f"Trino does not answer at {where.host}:{where.port} (connection {TRINO_CONNECTION}). Is it up? {error}"
        ) from error
    for query_id in running:
        with suppress(DatabaseError):  # the statement has just ended
            trino.run(
                f"call system.runtime.kill_query(query_id => '{query_id}', message => 'left by an earlier attempt')"
            )
    return running


def end_spark_drivers(name: str | None) -> None:
    """End the drivers of our Spark jobs on this machine, and wait until they are gone.

    `name`: end only drivers of this name; None ends all of them.
    Drivers of another Airflow, which may load its DAGs from the same folder, are not touched.
    Raises psutil.TimeoutExpired if one survives.
    """
    drivers = [
        process
        for process in psutil.process_iter(["cmdline", "environ"])
        if (words := process.info["cmdline"])
        # This runs for every argument of every process on the machine, for which a Path would be slow.
        and any(os.path.dirname(word) == str(SPARK_JOBS) for word in words)
        and any(word == name if name else re.fullmatch(ANY_TAG, word) for word in words)
        # The environment of another user's process cannot be read; count that process as ours.
        and (process.info["environ"] or os.environ).get("AIRFLOW_HOME") == os.environ.get("AIRFLOW_HOME")
    ]
    for driver in drivers:
        with suppress(psutil.NoSuchProcess):
            driver.kill()
    _, alive = psutil.wait_procs(drivers, timeout=SECONDS)
    if alive:
        raise psutil.TimeoutExpired(SECONDS, pid=alive[0].pid)


def end_all_leftovers() -> None:
    """End the Trino statements and local Spark drivers of all runs, before a run gets the lease."""
    end_statements(ANY_TAG)
    end_spark_drivers(None)


def end_earlier_attempt(context: Any) -> None:
    """End Trino statements left by an earlier attempt of this task; a `pre_execute` hook."""
    ti = context["ti"]
    if ti.try_number > 1:
        end_statements(tag(ti))


def cancel_on_kill(task: BaseOperator) -> None:
    """Let a killed task end its Trino statements at once; its operator would leave them running."""
    task.on_kill = lambda: end_statements(tag(task))  # type: ignore
