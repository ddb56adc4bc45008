"""Runs over an empty shop, then over its first order, then after the pipeline was down for three days."""

import random
from datetime import timedelta
from decimal import Decimal

from medallion.run.window import RunKind, Window
from oracle import GOLD
from oracle.model import MODELS
from sample.shop import TABLES

from ..conftest import Stack
from .pipeline import InProcessPipeline
from .stories import OPENING, Shop

HOUR = timedelta(hours=1)


def test_runs_cover_everything_from_an_empty_shop_to_the_end_of_an_outage(
    stack: Stack, pipeline: InProcessPipeline
) -> None:
    pipeline.forget("bronze", "silver", "gold")
    shop = Shop(stack.urls["SOURCE_URL"], random.Random(0))
    shop.execute(f"truncate {', '.join(f'sales.{table}' for table in TABLES)}")
    pipeline.run("before the opening", RunKind.SCHEDULED, Window(OPENING - HOUR, OPENING))
    assert stack.read_published() == {table: [] for table in GOLD}

    shop = Shop(stack.urls["SOURCE_URL"], random.Random(0))
    shop.put_order("first")
    shop.put_item("first")
    shop.put_payment("first", "12.50")
    shop.tick()
    pipeline.run("opened", RunKind.SCHEDULED, Window(OPENING, shop.clock))
    assert stack.query_gold("select sales from gold.sales_by_category_month") == [(Decimal("12.50"),)]
    assert stack.find_differences(*MODELS) == {}

    outage_start = shop.clock
    for day in range(3):
        for hour in range(24):
            shop.clock += HOUR
            if hour % 8 == day:
                shop.sell(f"{day} {hour}")
    shop.put_order("first", order_status="canceled")
    shop.tick()
    pipeline.run("after the outage", RunKind.SCHEDULED, Window(shop.clock - HOUR, shop.clock))
    windows = stack.query_audit(
        "select window_start, window_end from audit.runs where run_id = ''after the outage''"
    )
    assert windows == [(outage_start, shop.clock)]
    assert stack.query_gold("select sum(orders) from gold.sales_by_day") == [(9,)]
    assert stack.find_differences(*MODELS) == {}
