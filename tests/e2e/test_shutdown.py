"""The end: after every other test, as files go by name."""

from stack import supervisor

from .conftest import Stack


def test_down_leaves_no_process(stack: Stack, first_run: str) -> None:
    stack.run("down")
    assert supervisor.ours(stack.settings) == []
