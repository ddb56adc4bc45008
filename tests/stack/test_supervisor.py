import subprocess
import sys

import psutil
import pytest

from stack import supervisor
from stack.errors import StackError
from stack.settings import Settings
from support.waiting import wait_until


def test_a_port_in_use_is_named_with_its_setting(
    settings: Settings, taken_port: int, closed_port: int
) -> None:
    free = dict.fromkeys(settings.ports, closed_port)
    wanted = settings.model_copy(update={**free, "trino_port": taken_port})
    with pytest.raises(StackError, match=f"Port {taken_port} for trino is in use.*STACK_TRINO_PORT"):
        supervisor.check_ports(wanted)


def test_only_processes_with_the_mark_belong_to_the_stack(settings: Settings) -> None:
    sleep = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
    with (
        subprocess.Popen(sleep, env={supervisor.MARK: str(settings.home)}, stdout=subprocess.PIPE) as marked,
        subprocess.Popen(sleep, env={supervisor.MARK: "/another"}, stdout=subprocess.PIPE) as foreign,
    ):
        for process in (marked, foreign):
            assert process.stdout
            process.stdout.readline()
        try:
            assert [process.pid for process in supervisor.stack_processes(settings)] == [marked.pid]
        finally:
            foreign.kill()
            marked.kill()


def test_a_process_that_does_not_listen_is_killed() -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        supervisor.end_processes([psutil.Process(process.pid)], seconds=0.2)
        assert not psutil.pid_exists(process.pid)


@pytest.mark.parametrize("record", ["", "1"])
def test_a_record_that_a_crash_left_names_no_session(settings: Settings, record: str) -> None:
    supervisor.session_record(settings).write_text(record)  # process 1 is no supervisor
    assert supervisor.session(settings) is None
    supervisor.shutdown(settings)
    assert not supervisor.session_record(settings).exists()


def test_a_zombie_is_no_process_of_the_stack(settings: Settings) -> None:
    with subprocess.Popen([sys.executable, "-c", ""], start_new_session=True) as ended:
        supervisor.session_record(settings).write_text(str(ended.pid))
        wait_until(lambda: psutil.Process(ended.pid).status() == psutil.STATUS_ZOMBIE, 30, every=0.01)
        assert supervisor.session(settings) == ended.pid
        assert supervisor.stack_processes(settings) == []
