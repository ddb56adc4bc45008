"""PostgreSQL servers for tests."""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

from stack.environment import POSTGRES_BIN

Query = Callable[..., list[tuple[Any, ...]]]
# This script runs a program as another user than root, because PostgreSQL refuses root.
RUN = Path(__file__).parents[2] / "stack" / "postgres" / "server"


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server with the superuser `postgres` and without passwords.

    It listens on a socket in its folder, and with `tcp` also on 127.0.0.1.
    """

    folder: Path
    port: int = 5432
    tcp: bool = False

    def url(self, role: str = "postgres", database: str = "postgres") -> str:
        """Return the URL of `database` for `role`."""
        return f"postgresql://{role}@/{database}?host={self.folder}&port={self.port}"

    def run(self, program: str, *arguments: str) -> None:
        """Run a PostgreSQL program on the data folder. After a minute it is killed."""
        command: list[str | Path] = [RUN, POSTGRES_BIN / program, "-D", self.folder / "data", *arguments]
        subprocess.run(command, check=True, timeout=60, cwd="/", stdout=subprocess.DEVNULL)

    def start(self) -> None:
        """Start the server and wait until it answers. If it fails, raise SubprocessError with the server's log."""
        address = "127.0.0.1" if self.tcp else ""
        options = f"-k {self.folder} -p {self.port} -c listen_addresses='{address}' -c fsync=off"
        log = self.folder / "log"
        try:
            self.run("pg_ctl", "start", "-w", "-l", str(log), "-o", options)
        except subprocess.SubprocessError as error:
            error.add_note(log.read_text() if log.exists() else "The server wrote no log.")
            raise

    def stop(self) -> None:
        """Stop the server immediately, without a clean shutdown, like a crash."""
        self.run("pg_ctl", "stop", "-w", "-m", "immediate")


@contextmanager
def postgres_server(port: int = 5432, tcp: bool = False, primary: Server | None = None) -> Iterator[Server]:
    """Start a new server, yield it, and remove it afterwards.

    `primary`: a server of which the new one becomes a standby, by streaming replication.
    """
    # The path of a socket has a maximum length, and pytest's temporary folders have too long paths.
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        server = Server(Path(folder), port, tcp)
        if os.geteuid() == 0:
            os.chown(folder, 65534, 65534)  # to the user nobody, as which RUN runs the server
        if primary:
            server.run(
                "pg_basebackup", "-d", primary.url(), "-R", "-X", "stream", "--checkpoint=fast", "--no-sync"
            )
        else:
            server.run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        try:
            server.start()
            yield server
        finally:
            # The file exists while the server runs: a test may have stopped it, or it runs although `start` failed.
            if (server.folder / "data" / "postmaster.pid").exists():
                server.stop()


def query(url: str, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """Run a statement in its own transaction, with the time zone UTC, and return its rows, if it returns any."""
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("set time zone 'UTC'")
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []
