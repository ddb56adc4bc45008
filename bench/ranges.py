"""The cost of a month in one run, compared with a run for each of its hours."""

from datetime import UTC, datetime, timedelta
from statistics import fmean

import click

from bench.meter import record, show_costs
from bench.runs import count_orders, measure_run, prepare, window
from stack.demo import shop

DAYS = 30
HOURS = DAYS * 24
SHOP_DAYS = 730  # days that a generated shop spreads its orders over


@click.command("range")
@click.option("--hours", default=12, show_default=True, help="Hourly runs to measure.")
def ranges(hours: int) -> None:
    """Compare 30 days in one run with a run for each of their 720 hours, of which some are measured."""
    settings = prepare()
    orders = count_orders(settings)
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    start = end - timedelta(days=DAYS)
    # Within the 30 days as many orders change as a month has, of any age, and some other rows.
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
