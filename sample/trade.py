"""Simulate trade in the shop: a burst of changes at once, or steady small changes until a signal."""

import logging
import signal
import time
from collections import Counter
from contextlib import closing, suppress
from threading import Event
from typing import Any

import click
import psycopg2
from psycopg2.extensions import cursor
from tenacity import (
    RetryError,
    Retrying,
    before_sleep_log,
    retry_if_exception_type,
    stop_when_event_set,
    wait_exponential,
)
from tenacity.nap import sleep_using_event

from sample import shop

log = logging.getLogger("trade")


def change(cur: cursor, orders: int, deletes: bool = False) -> Counter[str]:
    """Place about `orders` orders, advance the status of open ones, review some, change a few customers and products.

    With `deletes`, delete some rows first. All times are those of the database's clock. Returns the number of rows for
    each kind of change. Raises click.ClickException if the database is not the shop's.
    """
    shop.require_shop(cur)
    done = shop.rows(cur, shop.sql("deletes.sql"), {"orders": orders}) if deletes else []
    return Counter(dict(done + shop.rows(cur, shop.sql("trade.sql"), {"orders": orders})))


def live(orders: int, deletes: bool) -> None:
    """Apply a burst of changes in one transaction, and print the number of rows for each kind of change.

    Raises click.ClickException if the shop is empty.
    """
    with shop.transaction() as cur:
        done = change(cur, orders, deletes)
        if not done.total():
            raise click.ClickException("The shop is empty. Fill it first: load or generate.")
    shop.print_counts("Changes at the shop", "change", done)


def alter(**parameters: Any) -> None:
    """Change existing rows in one transaction and print their numbers. `parameters`: those of change.sql.

    Raises click.ClickException if the database is not the shop's.
    """
    with shop.transaction() as cur:
        shop.require_shop(cur)
        done = dict(shop.rows(cur, shop.sql("change.sql"), parameters))
    shop.print_counts("Changed rows", "table", done)


def trade(every: float, orders: int) -> None:
    """Apply a small burst of changes every `every` seconds, until SIGTERM or SIGINT.

    Wait while the database does not answer or has no tables yet. Log the number of changes once a minute. Raises
    click.ClickException if SOURCE_URL is not set or malformed, if the database is not the shop's, or if it refuses a
    change.
    """
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    done: Counter[str] = Counter()
    logged = time.monotonic()
    log.info("Trading every %g seconds.", every)
    # Retry while the database restarts, and until the shop's tables exist.
    retrying = Retrying(
        retry=retry_if_exception_type(
            (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.errors.UndefinedTable)
        ),
        wait=wait_exponential(max=30),
        stop=stop_when_event_set(stop),
        sleep=sleep_using_event(stop),
        before_sleep=before_sleep_log(log, logging.WARNING),
    )
    while not stop.is_set():
        with suppress(RetryError), shop.clear_errors():  # RetryError: a signal arrived during a wait
            for attempt in retrying:
                with attempt, closing(shop.connect()) as connection, connection, connection.cursor() as cur:
                    done += change(cur, orders)
        if time.monotonic() - logged >= 60:
            log.info(
                "In the last minute: %s.",
                ", ".join(f"{count} {name}" for name, count in done.items()) or "nothing",
            )
            done.clear()
            logged = time.monotonic()
        stop.wait(every)
    log.info("Stopped.")
