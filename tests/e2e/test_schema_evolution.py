"""The hourly run still writes to tables after their columns, types and partitions changed.

`in_process/test_schema_evolution.py` tests this for the engines.
"""

import pytest

from .conftest import Stack


@pytest.mark.long
def test_our_writers_merge_into_evolved_tables(stack: Stack, first_run: str) -> None:
    """Change a bronze, two staging, a fact and a gold table, then run the hourly DAG, which merges into all of them."""
    stack.query_trino("alter table bronze.orders add column evolved varchar")
    stack.query_trino("alter table bronze.orders set properties partitioning = array['day(_changed_at)']")
    stack.query_spark("alter table silver.stg_orders add column evolved string")
    stack.query_spark(
        "alter table silver.stg_orders replace partition field bucket(4, order_id) with bucket(8, order_id)"
    )
    stack.query_spark("alter table silver.stg_order_items alter column price type decimal(20, 2)")
    stack.query_spark("alter table silver.fact_sales add column evolved string")
    stack.query_spark("alter table silver.fact_sales alter column payment_value type decimal(20, 2)")
    stack.query_spark(
        "alter table silver.fact_sales replace partition field years(order_purchase_timestamp)"
        " with months(order_purchase_timestamp)"
    )
    stack.query_trino("alter table gold.sales_by_day add column evolved varchar")
    stack.query_trino("alter table gold.sales_by_day alter column payments set data type decimal(20, 2)")
    stack.query_trino("alter table gold.sales_by_day set properties partitioning = array['month(day)']")
    stack.run_sample("live")
    stack.run("trigger")
    assert stack.find_differences("fact_sales") == {}
