"""Waiting on a condition, with a limit."""

from collections.abc import Callable
from operator import not_
from typing import TypeVar

from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

T = TypeVar("T")


def wait_until(found: Callable[[], T], seconds: float = 1800, every: float = 0.5) -> T:
    """Return what `found` finds, asked again and again, as soon as it is something.

    Raises tenacity.RetryError, with its last answer, once so many seconds have passed.
    """
    retrying = Retrying(retry=retry_if_result(not_), stop=stop_after_delay(seconds), wait=wait_fixed(every))
    return retrying(found)
