"""A PostgreSQL for tests."""

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
RUN = Path(__file__).parents[2] / "stack" / "postgres" / "server"  # PostgreSQL refuses root


@dataclass(frozen=True)
class Server:
    """A running PostgreSQL that listens on a socket, where logins need no password: superuser `postgres`.

    With a port it listens there, too, on loopback, and asks for passwords.
    """

    folder: Path
    port: int | None = None

    def url(self, role: str = "postgres", database: str = "postgres") -> str:
        """Return the URL of `database` for `role`."""
        port = f"&port={self.port}" if self.port else ""
        return f"postgresql://{role}@/{database}?host={self.folder}{port}"

    def run(self, program: str, *arguments: str) -> None:
        """Run a PostgreSQL program on the data folder; it is ended after a minute."""
        command: list[str | Path] = [RUN, POSTGRES_BIN / program, "-D", self.folder / "data", *arguments]
        subprocess.run(command, check=True, timeout=60, cwd="/", stdout=subprocess.DEVNULL)

    def start(self) -> None:
        """Start the server and wait until it answers. Raises SubprocessError, with the server's log, if it does not."""
        address = f"-c listen_addresses=127.0.0.1 -p {self.port}" if self.port else "-c listen_addresses=''"
        options = f"-k {self.folder} {address} -c fsync=off"
        log = self.folder / "log"
        try:
            self.run("pg_ctl", "start", "-w", "-l", str(log), "-o", options)
        except subprocess.SubprocessError as error:
            error.add_note(log.read_text() if log.exists() else "The server wrote no log.")
            raise

    def stop(self) -> None:
        """Stop the server as a crash would."""
        self.run("pg_ctl", "stop", "-w", "-m", "immediate")


@contextmanager
def postgres_server(port: int | None = None) -> Iterator[Server]:
    """Start a new server, yield it, and remove it afterwards."""
    # The path of a socket must be short: pytest's temporary folders are too deep.
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        server = Server(Path(folder), port)
        if os.geteuid() == 0:
            os.chown(folder, 65534, 65534)  # the user that RUN chooses
        logins = ("--auth-local=trust", "--auth-host=scram-sha-256")
        server.run("initdb", "-U", "postgres", *logins, "-E", "UTF8", "--no-locale", "--no-sync")
        try:
            server.start()
            yield server
        finally:
            # A test may have stopped the server. A server that started after the time limit is stopped, too.
            if (server.folder / "data" / "postmaster.pid").exists():
                server.stop()


def query(url: str, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """Run a statement in a transaction of its own, in UTC, and return its rows; none if it returns none."""
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("set time zone 'UTC'")
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []
