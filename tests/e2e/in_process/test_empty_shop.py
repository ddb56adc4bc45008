"""A shop that has not opened yet, then has its first order, then three days in which the pipeline stood still."""

import random
from datetime import timedelta
from decimal import Decimal

from medallion.run.window import RunKind, Window
from oracle import GOLD
from oracle.model import MODELS
from sample.shop import TABLES

from ..conftest import Stack
from .pipeline import WarmPipeline
from .stories import OPENING, Shop

HOUR = timedelta(hours=1)


def test_each_run_takes_all_since_the_last_from_an_empty_shop_to_the_end_of_an_outage(
    stack: Stack, pipeline: WarmPipeline
) -> None:
    pipeline.forget("bronze", "silver", "gold")
    shop = Shop(stack.urls["SOURCE_URL"], random.Random(0))
    shop.execute(f"truncate {', '.join(f'sales.{table}' for table in TABLES)}")
    pipeline.run("before the opening", RunKind.SCHEDULED, Window(OPENING - HOUR, OPENING))
    assert stack.published() == {table: [] for table in GOLD}

    shop = Shop(stack.urls["SOURCE_URL"], random.Random(0))
    shop.order("first")
    shop.item("first")
    shop.pay("first", "12.50")
    shop.tick()
    pipeline.run("opened", RunKind.SCHEDULED, Window(OPENING, shop.clock))
    assert stack.gold("select sales from gold.sales_by_category_month") == [(Decimal("12.50"),)]
    assert stack.differences(*MODELS) == {}

    began = shop.clock
    for day in range(3):
        for hour in range(24):
            shop.clock += HOUR
            if hour % 8 == day:
                shop.sell(f"{day} {hour}")
    shop.order("first", order_status="canceled")
    shop.tick()
    pipeline.run("after the outage", RunKind.SCHEDULED, Window(shop.clock - HOUR, shop.clock))
    windows = stack.audit(
        "select window_start, window_end from audit.runs where run_id = ''after the outage''"
    )
    assert windows == [(began, shop.clock)]
    assert stack.gold("select sum(orders) from gold.sales_by_day") == [(9,)]
    assert stack.differences(*MODELS) == {}
