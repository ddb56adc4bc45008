"""Generate a shop of any size. The same seed gives the same rows, and figures are like those of the Olist data set."""

import json
from collections import Counter
from datetime import datetime
from typing import Any, TextIO

from rich.progress import track

from sample import anomalies, shop

CHUNK = 100_000  # orders per statement


def generate(
    orders: int,
    seed: int,
    until: datetime,
    days: int,
    steady: bool,
    replace: bool,
    kinds: list[str],
    manifest: TextIO | None,
) -> None:
    """Fill the shop with `orders` orders and the rows that belong to them, in one transaction.

    The purchases are in the `days` before `until` (a naive datetime, in UTC), the same number each day if `steady`. No
    event is later than `until`. The same arguments give the same rows. `kinds`: the kinds of anomalies to inject (see
    anomalies.py). `manifest`: a file that gets a line of JSON (anomalies.Injected) for each anomaly.

    Raises click.ClickException if the shop has rows already and `replace` is false.
    """
    parameters: dict[str, Any] = {"orders": orders, "seed": seed, "until": until, "days": days}
    parameters["growth"] = 1 if steady else 0.7
    with shop.transaction() as cur:
        shop.make_empty(cur, replace)
        cur.execute(shop.sql("reference.sql"), parameters)
        for first in track(range(1, orders + 1, CHUNK), f"Generating {orders:,} orders"):
            last = min(first + CHUNK - 1, orders)
            cur.execute(shop.sql("orders.sql"), {**parameters, "first": first, "last": last})
        injected = anomalies.inject(cur, kinds, seed)
        if manifest:
            manifest.writelines(f"{json.dumps(row._asdict())}\n" for row in injected)
    shop.show(f"Generated with seed {seed}, as of {until} UTC")
    if injected:
        shop.print_counts("Injected", "anomaly", Counter(row.kind for row in injected))
