"""Start, inspect and end the stack's processes through supervisord."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

import psutil
from supervisor.xmlrpc import SupervisorTransport

from stack.credentials import write_private
from stack.environment import HOST, MARK, PROGRAMS, socket_path, withheld
from stack.errors import StackError
from stack.settings import STACK, Settings

WATCH = "watch"
SERVICES = (
    "postgres",
    "trino",
    "thrift",
    "api-server",
    "scheduler",
    "dag-processor",
    "triggerer",
    "shop",
    WATCH,
)
STOPPING_SECONDS = 90


def rpc(settings: Settings) -> Any:
    """Return supervisord's API; its calls raise OSError if supervisord is not running."""
    transport = SupervisorTransport(None, None, f"unix://{socket_path(settings)}")
    return ServerProxy("http://localhost", transport=transport).supervisor


def is_running(settings: Settings) -> bool:
    """Return whether this stack's supervisord answers."""
    try:
        rpc(settings).getPID()
    except OSError:
        return False
    return True


def check_ports(settings: Settings) -> None:
    """Raise StackError for the first port that another program uses."""
    for name, port in settings.ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                service = name.removesuffix("_port")
                raise StackError(
                    f"Port {port} for {service} is in use: free it or set STACK_{name.upper()} to another one."
                ) from None


def options_of_env(env: dict[str, str]) -> dict[str, str]:
    """Return, for each service, the options by which `env` withholds the secrets that the service does not need."""
    return {
        f"WITHHELD_{name.upper().replace('-', '_')}": " ".join(
            f"-u {secret}" for secret in withheld(name, env)
        )
        for name in SERVICES
    }


def launch(env: dict[str, str], settings: Settings) -> None:
    """Start supervisord in the background with `env` and wait until it answers; it starts no service on its own."""
    path = socket_path(settings)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if path.parent.stat().st_uid != os.getuid():
        raise StackError(f"{path.parent} belongs to another user: remove it.")
    command: list[str | Path] = [PROGRAMS / "supervisord", "-c", STACK / "supervisord.conf"]
    done = subprocess.run(
        command, env=env | options_of_env(env), cwd=settings.home, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise StackError(f"The supervisor does not start:\n{(done.stdout + done.stderr).strip()}")
    deadline = time.monotonic() + 20
    while not is_running(settings):
        if time.monotonic() > deadline:
            raise StackError(f"The supervisor does not answer; see {settings.home}/log/supervisord.log")
        time.sleep(0.1)
    write_private(session_record(settings), str(rpc(settings).getPID()))


def session_record(settings: Settings) -> Path:
    """Return the file with the id of supervisord's process, which is also its session's id, while the stack runs."""
    return settings.home / "session"


def session(settings: Settings) -> int | None:
    """Return the session that supervisord opened; None if none is recorded, or if the id is another program's."""
    try:
        number = int(session_record(settings).read_text())
    except (FileNotFoundError, ValueError):  # the file is empty after a power loss
        return None
    # If supervisord has ended or is a zombie, psutil raises NoSuchProcess. Its session may still have processes.
    with contextlib.suppress(psutil.NoSuchProcess):
        leader = psutil.Process(number)
        if not any(Path(part).name == "supervisord.conf" for part in leader.cmdline()):
            return None
        # The supervisor of another clone has another working folder. If this clone was moved, its folder moved, too.
        if Path(leader.cwd()) != settings.home.resolve():
            return None
    return number


def start(name: str, settings: Settings) -> bool:
    """Start a service without waiting; return False if it is running already."""
    if info(name, settings)["statename"] in {"RUNNING", "STARTING"}:
        return False
    with contextlib.suppress(Fault):  # it was started in the meantime
        rpc(settings).startProcess(name, False)
    return True


def stop(name: str, settings: Settings) -> None:
    """Stop a service and wait for its end; do nothing if it is not running."""
    with contextlib.suppress(Fault):
        rpc(settings).stopProcess(name)


def info(name: str, settings: Settings) -> dict[str, Any]:
    """Return supervisord's record of a service: statename, pid, start (epoch seconds), spawnerr, …

    Raises StackError if supervisord does not know the service.
    """
    try:
        return dict(rpc(settings).getProcessInfo(name))
    except Fault:
        raise StackError(
            f"The stack was started by another version, which has no {name}. Stop it first: make down"
        ) from None


def stack_processes(settings: Settings) -> list[psutil.Process]:
    """Return every process of this stack, without asking the supervisor.

    A process belongs to the stack if it is in the session that supervisord opened, or has the stack's mark in its
    environment. The system does not reuse a session's id while a member lives.
    """
    stack_session = session(settings)
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            is_member = os.getsid(process.pid) == stack_session or process.environ().get(MARK) == str(
                settings.home
            )
            # Ignore zombies: they have ended, and without an init process a container lists them for ever.
            if is_member and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
    return processes


def end_processes(processes: Iterable[psutil.Process], seconds: float = 20) -> None:
    """Terminate processes, and kill them after `seconds`."""
    alive = list(processes)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(alive, timeout=seconds)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=20)


def shutdown(settings: Settings) -> None:
    """End every process of the stack, and nothing else, even if its supervisor died."""
    if is_running(settings):
        supervisord = psutil.Process(rpc(settings).getPID())
        rpc(settings).shutdown()
        with contextlib.suppress(psutil.TimeoutExpired):
            supervisord.wait(STOPPING_SECONDS)
    end_processes(stack_processes(settings))
    session_record(settings).unlink(missing_ok=True)
