"""Health checks that act as a client of the service would, and raise an error if that fails."""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from queue import Empty, SimpleQueue

import httpx
import psycopg2
import trino
from pyhive import hive

from stack.environment import HOST, public_environment
from stack.settings import Settings

# Refused connections are expected here.
logging.getLogger("thrift").setLevel(logging.CRITICAL)
SECONDS = 10.0  # time limit of a request
CHECK_SECONDS = 30.0  # time limit of a check
ASKS_A_CATALOG = "select * from table(postgres_gold.system.query(query => 'select 1'))"


# PostgreSQL answers so while other sessions hold all its connections.
FULL = "no connection is free"


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
        if "too many clients" in str(error) or "connection slots are reserved" in str(error):
            raise Unhealthy(FULL) from None
        if "password authentication failed" not in str(error):
            raise


def trino_query(settings: Settings, _started: float) -> None:
    """Check that a query of a catalog runs: the server reports its start before its node has loaded every catalog."""
    with trino.dbapi.Connection(
        HOST, settings.trino_port, "medallion", request_timeout=SECONDS
    ) as connection:
        connection.cursor().execute(ASKS_A_CATALOG).fetchall()


def thrift(settings: Settings, _started: float) -> None:
    """Check that a session opens, for which Spark reads the catalog, and that it runs a query."""
    with hive.Connection(host=HOST, port=settings.thrift_port) as connection, connection.cursor() as cursor:
        # `select 1` would be a job of Spark, which waits until the tasks of earlier jobs have started.
        cursor.execute("values (1)")
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


# Service -> the services that it needs: it can't be healthy while one of them is not.
NEEDS = {
    "postgres": set[str](),
    "trino": {"postgres"},
    "thrift": {"postgres"},
    "api-server": {"postgres"},
    "scheduler": {"postgres", "api-server"},
    "dag-processor": {"postgres", "api-server"},
    "triggerer": {"postgres", "api-server"},
}
CHECKS: dict[str, Callable[[Settings, float], None]] = {
    "postgres": postgres,
    "trino": trino_query,
    "thrift": thrift,
    "api-server": airflow("metadatabase"),
    "scheduler": airflow("scheduler"),
    "dag-processor": airflow("dag_processor"),
    "triggerer": airflow("triggerer"),
}


def find_problem(name: str, settings: Settings, started: float) -> str | None:
    """Return why service `name` is unhealthy, None if it is healthy; `started`: its last start, in epoch seconds.

    A check that takes longer than CHECK_SECONDS has failed: a frozen service accepts connections and does not answer,
    and some clients wait for ever.
    """
    results: SimpleQueue[str | None] = SimpleQueue()

    def run() -> None:
        try:
            CHECKS[name](settings, started)
        except Exception as error:  # noqa: BLE001, client libraries raise anything if a service is unhealthy
            results.put(str(error).strip()[:500] or type(error).__name__)
        else:
            results.put(None)

    # A daemon thread, because the process must be able to end while a client waits.
    threading.Thread(target=run, daemon=True).start()
    try:
        return results.get(timeout=CHECK_SECONDS)
    except Empty:
        return f"{name} has not answered within {CHECK_SECONDS:.0f} s"
