import json
from pathlib import Path

import pytest

from stack.airflow_api import AirflowApi, last_events
from stack.errors import StackError
from stack.settings import Settings


def test_an_airflow_that_is_down_is_said_with_what_to_look_at(settings: Settings, closed_port: int) -> None:
    with pytest.raises(StackError, match="make status"):
        AirflowApi(settings.model_copy(update={"airflow_port": closed_port}))


def test_the_end_of_a_task_log_shows_its_error(tmp_path: Path) -> None:
    log = tmp_path / "attempt=1.log"
    events = [
        {"event": "Starting"},
        {"event": "Task failed", "error_detail": [{"exc_type": "ValueError", "exc_value": "no such table"}]},
    ]
    log.write_text("".join(json.dumps(each) + "\n" for each in events) + "plain text\n")
    assert last_events(log).splitlines() == [
        "  Starting",
        "  Task failed",
        "  ValueError: no such table",
        "  plain text",
    ]


def test_a_log_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    assert last_events(tmp_path / "none.log") == ""
