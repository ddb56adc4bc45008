"""The address of a source outside of the stack, in the formats that libpq, Java's driver and Airflow need.

No message contains a part of the address that may be the password.
"""

import hashlib
import re
from urllib.parse import quote

import psycopg2
from psycopg2.extensions import parse_dsn

SHAPE = "postgresql://user:password@host:port/database"
ENCODED = "@ is %40, : is %3A, / is %2F, ? is %3F, # is %23, % is %25, a blank is %20"
# By default the pipeline's sessions only read, and never for long. Options of the URL come later and override these.
READ_ONLY = "-c default_transaction_read_only=on -c statement_timeout=15min"
# Parameter of libpq -> its name in Java's driver.
JDBC = {
    "sslmode": "sslmode",
    "sslrootcert": "sslrootcert",
    "sslcert": "sslcert",
    "sslkey": "sslkey",
    "sslnegotiation": "sslNegotiation",
    "channel_binding": "channelBinding",
    "gssencmode": "gssEncMode",
    "krbsrvname": "kerberosServerName",
    "application_name": "ApplicationName",
    "connect_timeout": "connectTimeout",
    "options": "options",
    "target_session_attrs": "targetServerType",
    "keepalives": "tcpKeepAlive",
}
JDBC_VALUES = {
    "target_session_attrs": {
        "read-write": "primary",
        "read-only": "any",
        "standby": "secondary",
        "prefer-standby": "preferSecondary",
    },
    "keepalives": {"0": "false", "1": "true"},
}
ADDRESS = ("host", "port", "dbname", "user", "password")


def parse_source_url(url: str) -> dict[str, str]:
    """Return libpq's parameters of a URL, with the port. Raises ValueError, whose message has no part of the URL."""
    if not re.match("postgres(ql)?://", url):
        raise ValueError(f"it must be {SHAPE}")
    try:
        parameters: dict[str, str] = parse_dsn(url)
    except psycopg2.ProgrammingError:
        raise ValueError(
            f"it must be {SHAPE}, with parameters of libpq behind `?`; in user and password {ENCODED}"
        ) from None
    for name, part in (("user", "user"), ("host", "host"), ("dbname", "database")):
        if not parameters.get(name):
            raise ValueError(f"it has no {part}; it must be {SHAPE}, and in user and password {ENCODED}")
    if "/" in parameters["host"]:
        raise ValueError("its host is the folder of a socket; Trino needs a host that it reaches over TCP")
    if not re.fullmatch(r"[\w.:,%-]+", parameters["host"]):
        raise ValueError(f"its host is malformed; it must be {SHAPE}, and in user and password {ENCODED}")
    if "sslpassword" in parameters:
        raise ValueError("it has a sslpassword, which Trino's log would show: use a key that needs none")
    hosts = parameters["host"].split(",")
    ports = parameters.get("port", "").split(",")
    ports = [port or "5432" for port in (ports if len(ports) == len(hosts) else ports[:1] * len(hosts))]
    if not all(port.isdigit() and 0 < int(port) < 65536 for port in ports):
        raise ValueError(f"its port is no number from 1 to 65535; it must be {SHAPE}")
    return {**parameters, "port": ",".join(ports)}


def mask(url: str) -> str:
    """Return the URL without secrets, and with a short digest, which changes with the secret."""
    parameters = parse_source_url(url)
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    return f"postgresql://{parameters['user']}:***@{show_address(parameters)} ({digest})"


def show_address(parameters: dict[str, str]) -> str:
    """Return hosts, ports and database for people."""
    return f"{join_hosts(parameters)}/{parameters['dbname']}"


def join_hosts(parameters: dict[str, str]) -> str:
    """Return each host with its port; an IPv6 address is in brackets."""
    pairs = zip(parameters["host"].split(","), parameters["port"].split(","), strict=True)
    return ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in pairs)


def read_only(parameters: dict[str, str]) -> dict[str, str]:
    """Return parameters whose sessions only read."""
    options = " ".join([READ_ONLY, *filter(None, [parameters.get("options")])])
    return {**parameters, "options": options}


def jdbc_url(parameters: dict[str, str]) -> str:
    """Return the URL for Java's driver, without user and password; parameters that it does not know are left out."""
    known = {
        java_name: JDBC_VALUES.get(name, {}).get(parameters[name], parameters[name])
        for name, java_name in JDBC.items()
        if name in parameters
    }
    if known.get("sslrootcert") == "system":
        del known["sslrootcert"]
        known |= {"sslmode": "verify-full", "sslfactory": "org.postgresql.ssl.DefaultJavaSSLFactory"}
    arguments = "&".join(f"{name}={quote(value, safe='')}" for name, value in known.items())
    database = quote(parameters["dbname"], safe="")
    return f"jdbc:postgresql://{join_hosts(parameters)}/{database}" + (f"?{arguments}" if arguments else "")


def connection(parameters: dict[str, str]) -> dict[str, object]:
    """Return the fields of an Airflow connection."""
    port = parameters["port"]
    extra: dict[str, object] = {name: value for name, value in parameters.items() if name not in ADDRESS}
    # A list of ports, such as 5432,5433, is no number: libpq gets it as an extra argument, which replaces the field.
    if not port.isdigit():
        extra["port"] = port
    return {
        "conn_type": "postgres",
        "host": parameters["host"],
        "port": int(port) if port.isdigit() else 5432,
        "login": parameters["user"],
        "password": parameters.get("password", ""),
        "schema": parameters["dbname"],
        "extra": extra,
    }
