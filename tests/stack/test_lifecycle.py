import os
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from stack import lifecycle
from stack.errors import StackError
from stack.postgres import remove_stale_lock
from stack.settings import Settings
from support.postgres import Server


def test_settings_that_differ_from_the_running_stack_are_named(settings: Settings) -> None:
    (settings.home / "settings.json").write_text(settings.model_dump_json())
    lifecycle.check_settings_unchanged(settings.model_copy(update={"shop": "off"}))
    with pytest.raises(StackError, match=r"\(STACK_TRINO_PORT\).*make down"):
        lifecycle.check_settings_unchanged(settings.model_copy(update={"trino_port": 1024}))


@pytest.mark.parametrize(
    "number",
    ["", f"{os.getpid()}\nand more\n", f"{2**22 + 1}\n"],
    ids=["cut off", "of another process", "of none"],
)
def test_the_lock_of_a_server_that_ended_with_the_machine_is_removed(settings: Settings, number: str) -> None:
    lock = settings.home / "postgres" / "postmaster.pid"
    remove_stale_lock(settings)
    lock.parent.mkdir()
    lock.write_text(number)
    remove_stale_lock(settings)
    assert not lock.exists()


def test_the_lock_of_a_server_that_runs_stays(settings: Settings, postgres: Server) -> None:
    lock = settings.home / "postgres" / "postmaster.pid"
    lock.parent.mkdir()
    shutil.copy(postgres.folder / "data" / "postmaster.pid", lock)
    remove_stale_lock(settings)
    assert lock.exists()


def test_airflows_metadata_is_cleaned_once_a_day(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(lifecycle, "run", lambda command, *_: commands.append([*map(str, command)]))
    stamp = settings.home / "airflow" / "migrated"
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.touch()
    lifecycle.clean_airflow(settings, {})
    assert commands == []
    os.utime(stamp, (0, 0))
    for _ in range(2):
        lifecycle.clean_airflow(settings, {})
    [(_, *command)] = commands
    assert command[:3] == ["db", "clean", "--clean-before-timestamp"]
    age = datetime.now(UTC) - datetime.fromisoformat(command[3])
    assert timedelta(days=30) <= age < timedelta(days=30, minutes=1)
    # A deleted DAG would come back switched off.
    assert "dag" not in command[command.index("--tables") + 1].split(",")


def test_a_clean_up_that_fails_is_reported_and_tried_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object) -> None:
        raise StackError("Deleting old metadata of Airflow failed")

    monkeypatch.setattr(lifecycle, "run", run)
    stamp = settings.home / "airflow" / "migrated"
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.touch()
    os.utime(stamp, (0, 0))
    lifecycle.clean_airflow(settings, {})
    assert "Warning: Deleting old metadata of Airflow failed" in capsys.readouterr().out
    assert stamp.stat().st_mtime == 0
