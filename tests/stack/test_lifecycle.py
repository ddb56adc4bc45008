import pytest

from stack import lifecycle
from stack.errors import StackError
from stack.settings import Settings


def test_settings_that_differ_from_the_running_stack_are_named(settings: Settings) -> None:
    (settings.home / "settings.json").write_text(settings.model_dump_json())
    lifecycle.same_settings(settings.model_copy(update={"shop": "off"}))
    with pytest.raises(StackError, match=r"\(STACK_TRINO_PORT\).*make down"):
        lifecycle.same_settings(settings.model_copy(update={"trino_port": 1024}))
