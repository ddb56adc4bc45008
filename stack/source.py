"""The source: the database that the pipeline reads, which is the stack's own or the one of STACK_SOURCE_URL."""

from collections.abc import Iterable
from contextlib import closing
from typing import Any, cast

import psycopg2
from psycopg2.extensions import make_dsn
from psycopg2.sql import Composed

from stack.console import console
from stack.credentials import credentials
from stack.environment import connections
from stack.errors import StackError
from stack.settings import Settings
from stack.source_url import ENCODED, READ_ONLY, SHAPE

ROLE = """
select
    rolsuper as is_superuser,
    pg_is_in_recovery() as is_replica,
    (
        select array_agg(distinct namespace.nspname::text)
        from pg_class as class
        inner join pg_namespace as namespace on namespace.oid = class.relnamespace
        where class.relkind in ('r', 'p') and namespace.nspname !~ '^(pg_|information_schema$)'
            and has_table_privilege(class.oid, 'insert, update, delete, truncate')
    ) as writable
from pg_roles
where rolname = current_user
"""
# Part of an error message of libpq or of the server -> the advice to show.
REASONS = {
    "password authentication failed": "The user or the password is wrong; in a URL {ENCODED}.",
    "no password supplied": "The database asks for a password: {SHAPE}",
    "does not exist": "Check the database's name and the user's.",
    "no pg_hba.conf entry": "The server admits no such login from here, or only with TLS (?sslmode=require).",
    "could not translate host name": "Check the host's name.",
    "Connection refused": "Check host and port, and whether the server is up and listens there.",
    "timeout expired": "Check host and port, and the firewall between.",
    "permission denied for database": "The user may not connect: grant connect on database … to …;",
    "unsupported startup parameter": "A pooler is in between that takes no options: name the server itself.",
    "SSL": "Check sslmode and the certificates.",
}
OWN_IS_DOWN = "The stack's own database does not answer. Start it (make up), or set STACK_SOURCE_URL: {SHAPE}"


def quote(identifier: str) -> str:
    """Return an identifier as PostgreSQL reads it literally."""
    return '"' + identifier.replace('"', '""') + '"'


def grants(role: str, schemas: Iterable[str]) -> str:
    """Return the statements that let a role read schemas, for the database's owner."""
    return "\n".join(
        f"  grant usage on schema {quote(schema)} to {role};\n"
        f"  grant select on all tables in schema {quote(schema)} to {role};"
        for schema in schemas
    )


class Source:
    """The database that the pipeline reads, with the login of the pipeline. Its sessions only read."""

    def __init__(self, settings: Settings) -> None:
        fields = connections(settings, credentials(settings.home / "secrets.env"))["medallion_source"]
        extra = cast("dict[str, str]", fields.get("extra") or {"options": READ_ONLY})
        login: dict[str, Any] = {name: fields[name] for name in ("host", "port", "password")}
        # If the address names several servers, `extra` has all their ports and overrides the first port.
        login |= {"user": fields["login"], "dbname": fields["schema"]}
        self.dsn: str = make_dsn(**(login | extra))
        self.role = str(fields["login"])
        self.database = str(fields["schema"])
        self.address = f"{fields['host']}:{extra.get('port', fields['port'])}"
        self.is_own = settings.source_url is None
        self._connection: Any = None

    def query(self, statement: str | Composed, parameters: Any = None) -> list[tuple[Any, ...]]:
        """Return the rows of one statement. Raises StackError with the reason if the connection fails."""
        if self._connection is None:
            try:
                self._connection = psycopg2.connect(self.dsn, connect_timeout=10)
            except psycopg2.OperationalError as error:
                raise StackError(self.explain(str(error).strip())) from None
            self._connection.autocommit = True
        with self._connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()

    def explain(self, message: str) -> str:
        """Return what is wrong with the login and what to do."""
        reason = next((text for part, text in REASONS.items() if part in message), "")
        if self.is_own and "refused" in message:
            reason = OWN_IS_DOWN
        reason = reason.format(ENCODED=ENCODED, SHAPE=SHAPE)
        name = "The source" if self.is_own else "STACK_SOURCE_URL"
        where = f"{name} can't be read: user {self.role}, database {self.database} at {self.address}."
        return f"{where}\n{message}\n{reason}".rstrip()


def check_source(settings: Settings) -> None:
    """Check that a source outside of the stack can be read; print what is special about it. Raises StackError."""
    if settings.source_url is None:
        return
    with closing(Source(settings)) as source:
        [(is_superuser, is_replica, writable)] = source.query(ROLE)
    console.print(f"Source: database {source.database} at {source.address}, user {source.role}", markup=False)
    if is_replica:
        console.print("  It is a replica: a run reads up to the moment that the replica has replayed.")
    if is_superuser or writable:
        rights = "is a superuser" if is_superuser else f"may write to {', '.join(sorted(writable))}"
        console.print(
            f"  Warning: {source.role} {rights}. The stack's sessions only read, but let it have a login that can't"
            " do more. As the database's owner:\n"
            "  create role medallion_reader login password '…' connection limit 20;\n"
            "  alter role medallion_reader set default_transaction_read_only = on;\n"
            + grants("medallion_reader", sorted(writable or ["public"])),
            markup=False,
        )
