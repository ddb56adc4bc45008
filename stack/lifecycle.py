"""Start the stack's services in order, each after its health check, and show their state."""

import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import psutil
from rich.table import Table

from medallion.settings import settings as pipeline_settings
from stack import supervisor
from stack.build import build, last_lines, run
from stack.console import console, table_console
from stack.credentials import write_private
from stack.environment import PROGRAMS, service_environment
from stack.errors import StackError
from stack.health import NEEDS, find_problem
from stack.postgres import create_cluster, prepare_databases, remove_stale_lock
from stack.settings import CHANGEABLE, Settings
from stack.source import check_source

GIVE_UP_SECONDS = 15
# Without `dag`: after a long downtime the DAGs would go, with whether each is switched on.
CLEANED_TABLES = (
    "dag_run",
    "task_instance",
    "task_instance_history",
    "xcom",
    "log",
    "job",
    "trigger",
    "callback",
    "deadline",
    "asset_event",
    "import_error",
)
AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer")


def wait_healthy(name: str, settings: Settings) -> None:
    """Wait until the check of service `name` passes; raise StackError with the end of its log if it does not."""
    log = settings.home / "log" / f"{name}.log"
    began = time.monotonic()
    while True:
        state = supervisor.info(name, settings)
        if state["statename"] in {"RUNNING", "STARTING"}:
            problem = find_problem(name, settings, state["start"])
            if not problem:
                break
        else:
            problem = f"state {state['statename']} {state['spawnerr']}"
        waited = time.monotonic() - began
        # The supervisor retries a failed start: after a kill PostgreSQL first waits for its children to end.
        has_failed = state["statename"] in {"BACKOFF", "FATAL"} and waited > GIVE_UP_SECONDS
        if has_failed or waited > settings.start_timeout:
            raise StackError(
                f"{name} did not start within {waited:.0f} s: {problem}\nThe end of {log}:\n{last_lines(log)}"
            )
        time.sleep(0.5)
    console.print(f"  {name} is healthy ({time.monotonic() - began:.1f} s)")


def migrate_airflow(settings: Settings, env: dict[str, str]) -> None:
    """Migrate Airflow's database to the installed version, unless that was done."""
    stamp = settings.home / "airflow" / "migrated"
    if stamp.exists() and stamp.read_text() == version("apache-airflow"):
        return
    console.print("  Preparing Airflow's database …")
    log = settings.home / "log" / "airflow-migrate.log"
    run(
        [PROGRAMS / "airflow", "db", "migrate"],
        service_environment("api-server", env),
        log,
        "Preparing Airflow's database",
    )
    stamp.write_text(version("apache-airflow"))


def clean_airflow(settings: Settings, env: dict[str, str]) -> None:
    """Delete Airflow's metadata older than MEDALLION_LOG_RETENTION, at most once a day.

    Tasks can't do so: in Airflow 3 they have no access to its database. If the command fails, a warning is printed, and
    the next start tries again.
    """
    stamp = settings.home / "airflow" / "migrated"
    if time.time() - stamp.stat().st_mtime < timedelta(days=1).total_seconds():
        return
    console.print("  Deleting old metadata of Airflow …")
    before = datetime.now(UTC) - pipeline_settings().log_retention
    options = ["--clean-before-timestamp", before.isoformat(timespec="seconds"), "--skip-archive", "--yes"]
    options += ["--tables", ",".join(CLEANED_TABLES)]
    log = settings.home / "log" / "airflow-clean.log"
    try:
        run([PROGRAMS / "airflow", "db", "clean", *options], env, log, "Deleting old metadata of Airflow")
    except StackError as error:
        console.print(f"  Warning: {error}")
        return
    stamp.touch()


def check_settings_unchanged(settings: Settings) -> None:
    """Raise StackError if the running stack was started with other settings, and name them."""
    running = json.loads((settings.home / "settings.json").read_text())
    current = json.loads(settings.model_dump_json(exclude=CHANGEABLE))
    if changed := [f"STACK_{name.upper()}" for name in current if current[name] != running.get(name)]:
        raise StackError(
            f"The stack runs with other settings ({', '.join(changed)}). Stop it first: make down"
        )


def up(settings: Settings, with_airflow: bool = True) -> None:
    """Start every service that is not running and wait until all are healthy. Raises StackError."""
    check_source(settings)
    env = build(settings)
    if supervisor.is_running(settings):
        check_settings_unchanged(settings)
    else:
        supervisor.end_processes(supervisor.stack_processes(settings))
        supervisor.check_ports(settings)
        remove_stale_lock(settings)
        create_cluster(settings, env)
        write_private(settings.home / "settings.json", settings.model_dump_json(exclude=CHANGEABLE))
        supervisor.launch(env, settings)
    console.print("Starting the engines …")
    supervisor.start("postgres", settings)
    wait_healthy("postgres", settings)
    prepare_databases(settings, env)
    supervisor.start("trino", settings)
    supervisor.start("thrift", settings)
    airflow = AIRFLOW if with_airflow else ()
    if airflow:
        migrate_airflow(settings, env)
        clean_airflow(settings, env)
    for name in airflow:
        supervisor.start(name, settings)
    for name in ("thrift", "trino", *airflow):
        wait_healthy(name, settings)
    supervisor.start(supervisor.WATCH, settings)


def memory(pid: int) -> int:
    """Return the bytes of a process and its descendants; shared pages count once if the system reports them."""
    total = 0
    with contextlib.suppress(psutil.Error):  # the process has just ended
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            usage = process.memory_full_info()
            total += getattr(usage, "pss", usage.rss)
    return total


def show_status(settings: Settings) -> None:
    """Print each service's state, process, port, uptime (h:mm:ss) and memory.

    A service that runs but fails its health check is shown as unhealthy, with the reason.
    """
    if not supervisor.is_running(settings):
        console.print("The stack is down. Start it with: make up")
        return
    ports = {
        "postgres": settings.postgres_port,
        "trino": settings.trino_port,
        "thrift": settings.thrift_port,
        "api-server": settings.airflow_port,
    }
    records = {name: supervisor.info(name, settings) for name in supervisor.SERVICES}
    running = [name for name in NEEDS if records[name]["statename"] == "RUNNING"]
    with ThreadPoolExecutor() as pool:
        results = pool.map(lambda name: find_problem(name, settings, records[name]["start"]), running)
        problems = dict(zip(running, results, strict=True))
    table = Table("service", "state", "pid", "port", "uptime", "memory", box=None)
    for name, record in records.items():
        problem = problems.get(name)
        state = f"unhealthy: {problem.splitlines()[0][:100]}" if problem else record["statename"].lower()
        row = [name, state, "", str(ports.get(name, "")), "", ""]
        if pid := record["pid"]:
            row[2] = str(pid)
            row[4] = str(timedelta(seconds=int(time.time()) - record["start"]))
            row[5] = f"{memory(pid) >> 20} MB"
        table.add_row(*row)
    table_console.print(table)
