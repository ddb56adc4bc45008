"""Hooks before and after a task.

Before: limit its time, claim the run, pass the run's context to the engine, end what an earlier attempt left. After:
check that the code is unchanged, and close the attempt.
"""

import logging
import os
from datetime import timedelta
from threading import Timer
from typing import Any

from medallion.engines.leftovers import end_earlier_attempt
from medallion.engines.postgres import transaction
from medallion.names import Role, place_of
from medallion.publish.publish import skip_while_held
from medallion.run.attempts import close_attempt, run_of
from medallion.run.code import check_code
from medallion.run.state import RunState, claim_run
from medallion.store.pipeline import read_pipeline
from medallion.store.runs import read_run

log = logging.getLogger(__name__)

# How long a task may go on after its time limit, at which Airflow raises an exception in it.
GRACE = timedelta(minutes=2)
_timers: list[Timer] = []  # the timers of the attempt that this process runs
RUN_VARIABLE = "MEDALLION_RUN"  # dbt reads the run's context from it, as JSON


def start(context: Any) -> None:
    """Limit the time of the task, and end statements that an earlier attempt left; a `pre_execute` hook."""
    limit_time(context)
    end_earlier_attempt(context)


def limit_time(context: Any) -> None:
    """End this process if it still runs some time after the time limit of its task; Airflow then retries the task.

    Airflow raises an exception at the limit. But while dbt and its clients clean up after an exception, they may wait
    for ever for an engine that is frozen.
    """
    lift_limit()
    limit = context["ti"].task.execution_timeout
    if limit:
        _timers.append(Timer((limit + GRACE).total_seconds(), end_process, [limit]))
        _timers[-1].daemon = True
        _timers[-1].start()


def lift_limit() -> None:
    """Cancel what `limit_time` has started in this process."""
    while _timers:
        _timers.pop().cancel()


def end_process(limit: timedelta) -> None:
    """End this process at once, whatever its threads wait for."""
    log.error(
        "The task has not ended %s after its time limit of %s (MEDALLION_TASK_TIMEOUT): an engine does not answer."
        " This process ends now, and Airflow tries the task again.",
        GRACE,
        limit,
    )
    os._exit(1)


def claim(context: Any) -> RunState:
    """Limit the time of the task, claim the run, end statements that an earlier attempt left; a `pre_execute` hook.

    The order matters: an attempt that may not write must not end anything.
    """
    limit_time(context)
    # The conf of a run can set any param, so only the value that the declared type allows counts.
    run = claim_run(context["ti"], allow_deletes=context["params"].get("allow_deletes") is True)
    end_earlier_attempt(context)
    return run


def claim_to_stage(context: Any) -> None:
    """Claim the run, or skip the task while publishing is held; a `pre_execute` hook.

    Staging then would only fill the database with rows that are not published.
    """
    claim(context)
    with transaction() as cursor:
        skip_while_held(read_pipeline(cursor))


def claim_for_dbt(context: Any) -> None:
    """Claim the run and pass its context to dbt's environment; a `pre_execute` hook of dbt operators.

    dbt gets an environment variable and not `--vars`: changed vars force dbt to parse the whole project again.
    """
    context["ti"].task.env[RUN_VARIABLE] = claim(context).json()


def finish(context: Any, result: Any = None) -> None:
    """Close the row of an attempt that succeeded; a `post_execute` hook.

    A task that builds tables fails instead if the code has changed since it claimed the run: dbt and Spark read the
    files only after that.
    """
    ti = context["ti"]
    if place_of(ti.task_id).role is Role.BUILD:
        with transaction() as cursor:
            run = read_run(cursor, run_of(ti))
        if run:
            check_code(run)
    close_attempt(context, result)
    lift_limit()
