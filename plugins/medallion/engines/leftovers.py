"""Ends what an earlier try, or an earlier run, left running on an engine.

A killed task's statement goes on without it and may commit later. So everything that writes carries a tag: Trino
statements as a comment at their start, Spark drivers as their application's name. What is sent over the Thrift server
ends by itself: the server closes the session of a client whose connection broke, and cancels its statements.
"""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from airflow.providers.trino.hooks.trino import TrinoException, TrinoHook
from airflow.sdk import BaseOperator
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed
from trino.exceptions import DatabaseError

from medallion.settings import SPARK_JOBS, TRINO_CONNECTION

# `{{ tag(ti) }}` in templates; a person's statements, tagged `medallion by hand`, are left alone.
TAG = "medallion {dag_id}.{task_id}"
ANY_TAG = r"medallion [\w-]+\.[\w.-]+"

UNFINISHED = r"""
select query_id
from system.runtime.queries
where state not in ('FINISHED', 'FAILED') and regexp_like(query, '^\s*/\* {tag} \*/')
"""
SECONDS = 60


class EngineDownError(Exception):
    """An engine does not answer; the message says which, and where."""


def tag(ti: Any) -> str:
    """What marks the statements of a task, from its instance or its operator."""
    return TAG.format(dag_id=ti.dag_id, task_id=ti.task_id)


@retry(retry=retry_if_result(bool), wait=wait_fixed(0.5), stop=stop_after_delay(SECONDS))
def end_statements(tag_pattern: str) -> list[str]:
    """Ends the Trino statements whose tag matches, and waits until they are gone.

    Raises tenacity.RetryError when they still run after a minute, EngineDownError when Trino does not answer.
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
        with suppress(DatabaseError):  # it has just ended by itself
            trino.run(
                f"call system.runtime.kill_query(query_id => '{query_id}', message => 'left by an earlier try')"
            )
    return running


def end_spark_drivers(name: str | None) -> None:
    """Ends the drivers on this machine that run our Spark jobs, all or those of one application's name, and waits.

    Not those of another Airflow, which may have its DAGs from the same folder.

    Raises psutil.TimeoutExpired when one survives.
    """
    drivers = [
        process
        for process in psutil.process_iter(["cmdline", "environ"])
        if (words := process.info["cmdline"])
        and any(Path(word).parent == SPARK_JOBS for word in words)
        and any(word == name if name else re.fullmatch(ANY_TAG, word) for word in words)
        # Of another user's process it is not told.
        and (process.info["environ"] or os.environ).get("AIRFLOW_HOME") == os.environ.get("AIRFLOW_HOME")
    ]
    for driver in drivers:
        with suppress(psutil.NoSuchProcess):
            driver.kill()
    _, alive = psutil.wait_procs(drivers, timeout=SECONDS)
    if alive:
        raise psutil.TimeoutExpired(SECONDS, pid=alive[0].pid)


def end_all_leftovers() -> None:
    """Ends what any run left on Trino, and Spark drivers on this machine; for a run that has just got the lease."""
    end_statements(ANY_TAG)
    end_spark_drivers(None)


def end_earlier_attempt(context: Any) -> None:
    """Ends what an earlier try of the task left on an engine, and another run's of its driver; a `pre_execute` hook."""
    ti = context["ti"]
    if ti.try_number > 1:
        end_statements(tag(ti))
    # The lease may have been taken on a worker that sees no driver of this one.
    end_spark_drivers(tag(ti))


def cancel_on_kill(task: BaseOperator) -> None:
    """Makes a killed task end its Trino statements at once; its operator would leave them running."""
    task.on_kill = lambda: end_statements(tag(task))  # type: ignore
