"""Wait for a condition, with a time limit."""

from collections.abc import Callable
from operator import not_
from typing import TypeVar

from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

T = TypeVar("T")


def wait_until(check: Callable[[], T], seconds: float = 1800, every: float = 0.5) -> T:
    """Call `check` until its result is true, and return that result. `every`: seconds between two calls.

    Raises tenacity.RetryError, which contains the last result, if the result is still false after `seconds`.
    """
    retrying = Retrying(retry=retry_if_result(not_), stop=stop_after_delay(seconds), wait=wait_fixed(every))
    return retrying(check)
