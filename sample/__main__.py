"""Command line of the sample shop: python -m sample."""

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import click

from sample import anomalies, shop
from sample import generate as generator
from sample import load as loader
from sample import trade as trader

MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"])
replace_option = click.option("--replace", is_flag=True, help="Empty the shop first if it holds rows.")


@click.group(context_settings={"show_default": True})
def main() -> None:
    """Fill the sample shop and let it trade: nine tables, schema `sales`, in the database that SOURCE_URL names."""


@main.command()
def schema() -> None:
    """Create the missing tables; change nothing else."""
    with shop.transaction() as cur:
        cur.execute(shop.sql("schema.sql"))


@main.command()
def state() -> None:
    """Print the state of the database: filled, empty (the shop may be created or filled), or foreign (not the shop)."""
    with shop.transaction() as cur:
        click.echo(shop.state(cur))


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@replace_option
def load(folder: Path, replace: bool) -> None:
    """Load the nine CSV files of the Olist data set from FOLDER: all of them or none."""
    loader.load(folder, replace)


def to_kinds(context: click.Context, option: click.Parameter, value: str) -> list[str]:
    """Return the kinds of anomaly in a comma-separated list; `all` means every kind that does not stop a run.

    Raises click.BadParameter for an unknown kind.
    """
    kinds = anomalies.KINDS if value == "all" else [kind for kind in value.split(",") if kind]
    known = [*anomalies.KINDS, anomalies.DROPPED_COLUMN.kind]
    if unknown := set(kinds) - set(known):
        raise click.BadParameter(f"unknown: {', '.join(sorted(unknown))}. Known: all, {', '.join(known)}.")
    return kinds


@main.command()
@click.option("--orders", type=click.IntRange(1, 100_000_000), default=50_000, help="Number of orders.")
@click.option(
    "--seed", type=click.IntRange(0, 10**9), default=1, help="The same seed and end give the same rows."
)
@click.option(
    "--until",
    type=MOMENT,
    help="Time of the newest orders, UTC.  [default: now]",
)
@click.option(
    "--days", type=click.IntRange(1, 10_000), default=730, help="Days that the orders are spread over."
)
@click.option("--steady", is_flag=True, help="The same number of orders each day, instead of growing sales.")
@click.option(
    "--anomalies", "kinds", default="", callback=to_kinds, help="Kinds of bad rows to inject, or all."
)
@click.option(
    "--manifest",
    type=click.File("w", encoding="utf-8"),
    help="File for JSON lines with the anomaly of each bad row.",
)
@replace_option
def generate(
    orders: int,
    seed: int,
    until: datetime | None,
    days: int,
    steady: bool,
    kinds: list[str],
    manifest: TextIO | None,
    replace: bool,
) -> None:
    """Generate a shop of any size, with figures like those of the Olist data set."""
    now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
    if until and until > now:
        raise click.BadParameter(
            f"{until} is in the future, which no hourly window reaches.", param_hint="--until"
        )
    generator.generate(orders, seed, until or now, days, steady, replace, kinds, manifest)


@main.command()
@click.option(
    "--orders", type=click.IntRange(1, 1_000_000), default=100, help="Approximate number of orders to place."
)
@click.option("--deletes", is_flag=True, help="Delete some rows, too.")
def live(orders: int, deletes: bool) -> None:
    """Apply a burst of inserts and updates at once."""
    trader.live(orders, deletes)


@main.command()
@click.option(
    "--orders", type=click.IntRange(0), default=1000, help="Orders to change, with items, payments, reviews."
)
@click.option("--customers", type=click.IntRange(0), default=10, help="Customers to change.")
@click.option("--products", type=click.IntRange(0), default=10, help="Products to change.")
@click.option("--sellers", type=click.IntRange(0), default=10, help="Sellers to change.")
@click.option("--days", type=click.IntRange(1, 100_000), default=30, help="Maximum age of orders, in days.")
@click.option("--since", type=MOMENT, help="Earliest time of the changes, UTC.  [default: now]")
@click.option("--until", type=MOMENT, help="Latest time of the changes, UTC.  [default: now]")
def change(**parameters: Any) -> None:
    """Change existing rows at once."""
    trader.alter(**parameters)


@main.command()
@click.option(
    "--every", type=click.FloatRange(min=0, min_open=True), default=10.0, help="Seconds between changes."
)
@click.option("--orders", type=click.IntRange(1, 1000), default=1, help="Orders placed each time.")
def trade(every: float, orders: int) -> None:
    """Trade steadily until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    trader.trade(every, orders)


if __name__ == "__main__":
    main(prog_name="python -m sample")
