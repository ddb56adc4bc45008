"""Compare one run over a month with a run for each of its hours."""

from datetime import UTC, datetime, timedelta
from statistics import fmean

import click

from bench.meter import record, show_costs
from bench.runs import count_orders, measure_run, prepare, window
from stack.demo import shop

DAYS = 30
HOURS = DAYS * 24
SHOP_DAYS = 730  # the orders of a generated shop are from this many days


@click.command("range")
@click.option("--hours", default=12, show_default=True, help="Hourly runs to measure.")
def ranges(hours: int) -> None:
    """Compare one run over 30 days with 720 hourly runs, whose cost is computed from some measured ones."""
    settings = prepare()
    orders = count_orders(settings)
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    start = end - timedelta(days=DAYS)
    # Change as many orders as the shop has per month, and some other rows. The orders may be of any age. The times of
    # the changes are within the 30 days.
    shop(
        settings, "change", "--orders", str(orders * DAYS // SHOP_DAYS), "--days", "100000",
        "--since", f"{start:%Y-%m-%dT%H:%M:%S}", "--until", f"{end:%Y-%m-%dT%H:%M:%S}",
    )  # fmt: skip
    hour_costs = [
        measure_run(settings, window(hour, hour + timedelta(hours=1)))
        for hour in (start + timedelta(hours=number) for number in range(hours))
    ]
    whole = measure_run(settings, window(start + timedelta(hours=hours), end))
    show_costs("an hour each", hour_costs)
    show_costs(f"the other {HOURS - hours} hours in one run", [whole])
    ratios = (
        HOURS * fmean(cost.seconds for cost in hour_costs) / whole.seconds,
        HOURS * fmean(cost.cpu_seconds for cost in hour_costs) / whole.cpu_seconds,
    )
    print(
        f"{HOURS} hourly runs cost {ratios[0]:.0f} times the seconds and {ratios[1]:.0f} times the CPU of one run."
    )
    record(
        "range", min(ratios), "times cheaper", "at least 100", {"hours": hour_costs, "range": [whole]}, orders
    )
