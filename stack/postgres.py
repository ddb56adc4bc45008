"""Prepare PostgreSQL: the cluster's folder, then roles, databases and schemas from `stack/postgres/*.sql`."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import psutil

from stack.environment import HOST, POSTGRES_BIN, service_environment
from stack.errors import StackError
from stack.settings import STACK, Settings

SERVER = STACK / "postgres" / "server"
NOBODY = 65534  # user id, as in stack/postgres/server


def create_cluster(settings: Settings, env: dict[str, str]) -> None:
    """Create `.stack/postgres` if it does not exist; an interrupted attempt leaves only a partial folder."""
    target = settings.home / "postgres"
    if target.exists():
        return
    partial = settings.home / "postgres.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    if os.getuid() == 0:
        os.chown(partial, NOBODY, NOBODY)
    with tempfile.NamedTemporaryFile("w", dir=settings.home) as password:
        password.write(env["POSTGRES_PASSWORD"])
        password.flush()
        if os.getuid() == 0:
            os.fchown(password.fileno(), NOBODY, NOBODY)
        command: list[str | Path] = [SERVER, POSTGRES_BIN / "initdb", "--pgdata", partial]
        command += ["--username", "postgres", "--pwfile", password.name, "--auth", "scram-sha-256"]
        command += ["--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin"]
        command += ["--builtin-locale", "C.UTF-8"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackError(f"PostgreSQL's data folder could not be created:\n{done.stderr.strip()}")
    partial.rename(target)


def remove_stale_lock(settings: Settings) -> None:
    """Remove PostgreSQL's lock file if the process that it names is no PostgreSQL server.

    A server that ended with the machine leaves the file, and another program may get its process id. PostgreSQL would
    not start then, because it only checks whether any process of the same user has that id.
    """
    lock = settings.home / "postgres" / "postmaster.pid"
    if not lock.exists():
        return
    number = lock.read_text().partition("\n")[0]
    with contextlib.suppress(psutil.NoSuchProcess):
        if number.isdigit() and psutil.Process(int(number)).name() == "postgres":
            return
    lock.unlink()


def prepare_databases(settings: Settings, env: dict[str, str]) -> None:
    """Create or update roles, databases, schemas and the lake's catalog with the SQL files; safe to repeat."""
    own = {
        **service_environment("postgres", env),
        "PGHOST": HOST,
        "PGPORT": str(settings.postgres_port),
        "PGUSER": "postgres",
        "PGPASSWORD": env["POSTGRES_PASSWORD"],
        "PGOPTIONS": "-c client_min_messages=warning",
    }
    for database, script in (("postgres", "cluster"), ("shop", "shop"), ("bi", "bi"), ("lake", "lake")):
        command: list[str | Path] = [POSTGRES_BIN / "psql", "--no-psqlrc", "--quiet", "--dbname", database]
        command += ["--set", "ON_ERROR_STOP=1", "--file", STACK / "postgres" / f"{script}.sql"]
        done = subprocess.run(command, env=own, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StackError(
                f"stack/postgres/{script}.sql failed on database {database}:\n{done.stderr.strip()}"
            )
