import os
import signal
from typing import Any

import psutil
import pytest

from stack import health, supervisor, watch
from stack.settings import Settings
from support.postgres import Server


@pytest.fixture
def server(erp: Server, monkeypatch: pytest.MonkeyPatch) -> psutil.Process:
    """Let the launcher take a PostgreSQL for the stack's, beside a Trino that does not answer; returns its process."""
    process = psutil.Process(int((erp.folder / "data" / "postmaster.pid").read_text().split()[0]))
    running = {"statename": "RUNNING", "start": 0, "pid": process.pid}
    records: dict[str, Any] = {"postgres": running, "trino": running}
    monkeypatch.setattr(
        supervisor, "info", lambda name, _: records.get(name, {"statename": "STOPPED", "start": 0})
    )
    monkeypatch.setattr(health, "CHECK_SECONDS", 1)
    return process


@pytest.fixture
def watched(settings: Settings, erp: Server, closed_port: int) -> Settings:
    return settings.model_copy(update={"postgres_port": erp.port, "trino_port": closed_port})


def has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_frozen_service_is_killed_after_some_checks(
    watched: Settings, erp: Server, server: psutil.Process, capsys: pytest.CaptureFixture[str]
) -> None:
    # PostgreSQL answers, so its earlier failed checks do not count any more.
    assert watch.kill_unhealthy(watched, {"postgres": watch.LIMIT - 1, "trino": 0}) == {"trino": 1}
    os.kill(server.pid, signal.SIGSTOP)
    # Trino needs PostgreSQL. While PostgreSQL does not answer, nobody knows whether Trino itself is unhealthy.
    assert watch.kill_unhealthy(watched, {"trino": 1, "postgres": watch.LIMIT - 2}) == {
        "postgres": watch.LIMIT - 1
    }
    assert not has_ended(server)
    assert watch.kill_unhealthy(watched, {"postgres": watch.LIMIT - 1}) == {}
    assert has_ended(server)
    assert "postgres is killed; the supervisor starts it again" in capsys.readouterr().err
    # If no init process reaps it, the killed process stays a zombie, and PostgreSQL would respect its lock files.
    for lock in (erp.folder / "data" / "postmaster.pid", erp.folder / f".s.PGSQL.{erp.port}.lock"):
        lock.unlink()
    erp.start()
    assert health.find_problem("postgres", watched, 0) is None


def test_a_service_that_has_just_been_started_is_not_checked(
    watched: Settings, server: psutil.Process
) -> None:
    patient = watched.model_copy(update={"start_timeout": 10**10})
    assert watch.find_problems(patient) == {}
    assert watch.find_problems(watched).keys() == {"trino"}
