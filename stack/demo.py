"""The sample shop in the launcher: fill it, let it trade, run on it, show its figures.

Other modules know the shop only as a database with its logins, and as a service that trades.
A source that is not the shop is only read: it gets no rows, no burst and no trader.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path

from stack import supervisor
from stack.console import console
from stack.environment import environment, public_environment, service_environment
from stack.errors import StackError
from stack.lifecycle import up
from stack.pipeline import (
    first_change,
    publication,
    query,
    run_history,
    show,
    show_gold,
    source_tables,
    trigger,
)
from stack.settings import ROOT, Settings

SHOP_TABLE = ("sales", "product_category_name_translation")  # no other source has this table
HAS_ROWS = (
    "The shop has rows already: OLIST is not loaded. Start over with `make clean`, or replace the shop's rows:\n"
    "`make load REPLACE=1 OLIST=…`, `make backfill FROM=… TO=…`, `make reconcile ALLOW_DELETES=1`."
)

NO_TABLES = (
    "Everything runs, but the dbt project declares no source table yet. Declare tables, and run again:\n"
    "  make tables SCHEMA=…            (of the database that STACK_SOURCE_URL names)\n"
    "  make run"
)


def shop_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of the shop's commands."""
    return service_environment("shop", environment(settings))


def shop(settings: Settings, *arguments: str) -> None:
    """Run a command of the shop. Raises StackError if it fails; the command has printed the reason."""
    command = [sys.executable, "-m", "sample", *arguments]
    if subprocess.run(command, cwd=ROOT, env=shop_environment(settings), check=False).returncode:
        raise StackError(f"The shop's command failed: sample {' '.join(arguments)}")


def state(settings: Settings) -> str:
    """Return the shop's answer about the source: filled, empty or foreign.

    If the project has no shop, or the source is outside of the stack, the answer is foreign.
    """
    if settings.source_url or not (ROOT / "sample").is_dir():
        return "foreign"
    command = [sys.executable, "-m", "sample", "state"]
    done = subprocess.run(
        command, cwd=ROOT, env=shop_environment(settings), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise StackError(done.stderr.strip().removeprefix("Error: "))
    return done.stdout.strip()


def reads_shop(settings: Settings) -> bool:
    """Return whether the dbt project reads the shop's tables, from a source that is the shop or may become it."""
    declared = {(schema, table) for schema, table, *_ in source_tables()}
    return SHOP_TABLE in declared and state(settings) != "foreign"


def set_trader(settings: Settings) -> None:
    """Start the trading shop or stop it, as STACK_SHOP says; it never trades in a source that is not the shop."""
    if settings.shop == "on" and state(settings) == "filled":
        supervisor.start("shop", settings)
    else:
        supervisor.stop("shop", settings)


def start(settings: Settings) -> None:
    """Start the stack, and the trading shop if there is something to trade with. Raises StackError."""
    up(settings)
    set_trader(settings)


def show_best_sellers(settings: Settings) -> None:
    """Print the best-selling categories, as BI reads them, if that table is published."""
    url = public_environment(settings)["GOLD_URL"]
    if query(url, "select to_regclass('gold.sales_by_category_month')") == [(None,)]:
        return
    best = query(
        url,
        "select category, sum(sales), sum(bills), sum(items) from gold.sales_by_category_month"
        " group by category order by 2 desc limit 5",
    )
    show(
        "The best-selling categories",
        ["category", "sales", "bills", "items"],
        [(category, *(f"{value:,}" for value in values)) for category, *values in best],
    )


def run(settings: Settings, olist: Path | None, orders: int) -> None:
    """Start everything, fill an empty shop, publish the source's history, then what is new; print results and times.

    A shop gets a burst of orders before the last run. Raises StackError unless the last run published gold.
    """
    times: list[tuple[str, float]] = []

    @contextmanager
    def step(name: str) -> Iterator[None]:
        console.rule(name, align="left")
        began = time.monotonic()
        yield
        times.append((name, time.monotonic() - began))

    with step("Set up and start"):
        up(settings)
    if not source_tables():
        console.print(NO_TABLES)
        return
    has_shop = reads_shop(settings)
    begins = first_change(settings)
    if olist and (begins or not has_shop):
        console.print(HAS_ROWS if has_shop else "The source is not the sample shop: OLIST is not loaded.")
    if has_shop and begins is None:
        with step("Fill the shop"):
            shop(settings, *(["load", str(olist)] if olist else ["generate", "--orders", str(orders)]))
        begins = first_change(settings)
    if begins is None:
        raise StackError(
            "No table that the dbt project declares as a source has a row: there is nothing to run on."
        )

    before = publication(settings)
    # A publication without a window was made from an empty source.
    has_history = before is not None and before[2] is not None
    if not has_history:
        with step("The whole history, in one run"):
            run_history(settings, begins.astimezone(UTC))
    if has_shop:
        before = publication(settings)
        with step("A burst of orders, and the next run"):
            shop(settings, "live")
            trigger(settings, {})
    elif has_history:
        with step("The changes since the last run"):
            trigger(settings, {})
    after = publication(settings)
    if after is None or after == before:
        raise StackError("The run ended, but published nothing; see its task `publish` in Airflow.")
    set_trader(settings)

    show_gold(settings)
    if has_shop:
        show_best_sellers(settings)
    show("Times", ["step", "seconds"], [(name, f"{seconds:.0f}") for name, seconds in times])
    login = public_environment(settings)
    console.print(
        f"Airflow  {login['AIRFLOW_URL']}  (user {login['AIRFLOW_USER']})\n"
        f"Trino    {login['TRINO_URL']}  (user {login['TRINO_USER']}, no password)\n"
        f'Passwords are in {settings.home / "secrets.env"}; for a shell:  eval "$(make -s env)"\n'
        "The next hours run by themselves. Stop everything:  make down"
    )
