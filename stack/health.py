"""Real health checks: each does what a client of the service does, and raises where that fails."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import psycopg2
import trino
from pyhive import hive

from stack.environment import HOST, exports
from stack.settings import Settings

# Refused connections are what a check is for.
logging.getLogger("thrift").setLevel(logging.CRITICAL)
SECONDS = 10.0  # a check that takes longer has failed
ASKS_A_CATALOG = "select * from table(postgres_gold.system.query(query => 'select 1'))"


class Unhealthy(Exception):
    """The service answers, but not as it should."""


def postgres(settings: Settings, _started: float) -> None:
    """The server takes connections; its databases need not be there yet."""
    try:
        psycopg2.connect(
            host=HOST,
            port=settings.postgres_port,
            user="postgres",
            password="-",  # noqa: S106, a wrong one on purpose
            connect_timeout=int(SECONDS),
        )
    except psycopg2.OperationalError as error:
        if "password authentication failed" not in str(error):
            raise


def trino_query(settings: Settings, _started: float) -> None:
    """A query of a catalog runs: the server says that it has started before its node has joined, catalog by catalog."""
    with trino.dbapi.Connection(
        HOST, settings.trino_port, "medallion", request_timeout=SECONDS
    ) as connection:
        connection.cursor().execute(ASKS_A_CATALOG).fetchall()


def thrift(settings: Settings, _started: float) -> None:
    """A session opens (it needs the catalog) and answers."""
    with hive.Connection(host=HOST, port=settings.thrift_port) as connection, connection.cursor() as cursor:
        cursor.execute("select 1")
        cursor.fetchall()


def airflow(component: str) -> Callable[[Settings, float], None]:
    """Return the check of an Airflow component: it reports itself healthy, and since this start of it."""

    def check(settings: Settings, started: float) -> None:
        answer = httpx.get(f"{exports(settings)['AIRFLOW_URL']}/api/v2/monitor/health", timeout=SECONDS)
        state = answer.raise_for_status().json()[component]
        if state["status"] != "healthy":
            raise Unhealthy(f"{component} is {state['status']}")
        beat = state.get(f"latest_{component}_heartbeat")
        if beat and datetime.fromisoformat(beat) < datetime.fromtimestamp(started, UTC):
            raise Unhealthy(f"{component} has not reported yet")

    return check


CHECKS: dict[str, Callable[[Settings, float], None]] = {
    "postgres": postgres,
    "trino": trino_query,
    "thrift": thrift,
    "api-server": airflow("metadatabase"),
    "scheduler": airflow("scheduler"),
    "dag-processor": airflow("dag_processor"),
    "triggerer": airflow("triggerer"),
}
