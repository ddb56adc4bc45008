"""Health checks that act as a client of the service would, and raise an error if that fails."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import psycopg2
import trino
from pyhive import hive

from stack.environment import HOST, public_environment
from stack.settings import Settings

# Refused connections are expected here.
logging.getLogger("thrift").setLevel(logging.CRITICAL)
SECONDS = 10.0  # time limit of a check
ASKS_A_CATALOG = "select * from table(postgres_gold.system.query(query => 'select 1'))"


class Unhealthy(Exception):
    """The service answers, but reports a problem."""


def postgres(settings: Settings, _started: float) -> None:
    """Check that the server accepts connections; its databases may not exist yet."""
    try:
        psycopg2.connect(
            host=HOST,
            port=settings.postgres_port,
            user="postgres",
            password="-",  # noqa: S106, wrong on purpose
            connect_timeout=int(SECONDS),
        )
    except psycopg2.OperationalError as error:
        if "password authentication failed" not in str(error):
            raise


def trino_query(settings: Settings, _started: float) -> None:
    """Check that a query of a catalog runs: the server reports its start before its node has loaded every catalog."""
    with trino.dbapi.Connection(
        HOST, settings.trino_port, "medallion", request_timeout=SECONDS
    ) as connection:
        connection.cursor().execute(ASKS_A_CATALOG).fetchall()


def thrift(settings: Settings, _started: float) -> None:
    """Check that a session opens, which needs the catalog, and answers."""
    with hive.Connection(host=HOST, port=settings.thrift_port) as connection, connection.cursor() as cursor:
        cursor.execute("select 1")
        cursor.fetchall()


def airflow(component: str) -> Callable[[Settings, float], None]:
    """Return the check of an Airflow component: it reports itself healthy, with a heartbeat since its last start."""

    def check(settings: Settings, started: float) -> None:
        answer = httpx.get(
            f"{public_environment(settings)['AIRFLOW_URL']}/api/v2/monitor/health", timeout=SECONDS
        )
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
