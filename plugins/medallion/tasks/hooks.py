"""Hooks that run before a task: they claim the run, hand its context to the engine, and end what an attempt left."""

from typing import Any

from medallion.engines.leftovers import end_earlier_attempt
from medallion.run.state import RunState, claim_run

RUN_VARIABLE = "MEDALLION_RUN"  # by which dbt gets the run's context, as JSON


def claim(context: Any) -> RunState:
    """Claim the run, then end statements and drivers that an earlier attempt left; a `pre_execute` hook.

    The order matters: an attempt that may not write must not end anything.
    """
    # The conf of a run can set any param, so only the value that the declared type allows counts.
    run = claim_run(context["ti"], allow_deletes=context["params"].get("allow_deletes") is True)
    end_earlier_attempt(context)
    return run


def claim_for_dbt(context: Any) -> None:
    """Claim the run and pass its context to dbt's environment; a `pre_execute` hook of dbt operators.

    dbt gets an environment variable and not `--vars`: changed vars force dbt to parse the whole project again.
    """
    context["ti"].task.env[RUN_VARIABLE] = claim(context).json()
