"""A shop that has not opened yet: its runs publish empty tables, and its first order is not missed."""

import random
from datetime import timedelta
from decimal import Decimal

from expected import GOLD
from expected.model import MODELS
from medallion.window import RunKind, Window
from sample.shop import TABLES

from ..conftest import Stack
from .pipeline import WarmPipeline
from .stories import OPENING, Shop

HOUR = timedelta(hours=1)


def test_empty_shop_publishes_empty_tables_and_then_its_first_order(
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
