"""The shop's schema agrees with the models that read it."""

import json
import re
from pathlib import Path

import pytest

from medallion.project.manifest import sort_orders
from medallion.run.source import SourceContractError, check_source
from support.postgres import Query, Server
from tests.sample.cli import sample

SCHEMA = Path(__file__).parents[2] / "sample" / "schema.sql"


@pytest.fixture
def source(server: Server, shop: Query, monkeypatch: pytest.MonkeyPatch) -> Query:
    """The empty shop, with Airflow's connection to the source pointing at it."""
    shop(SCHEMA.read_text())
    fields = {"conn_type": "postgres", "host": str(server.folder), "login": "shop", "schema": "shop"}
    monkeypatch.setenv("AIRFLOW_CONN_MEDALLION_SOURCE", json.dumps(fields))
    return shop


def test_shop_has_the_tables_and_columns_of_the_models(source: Query) -> None:
    check_source()
    source("alter table sales.orders add column channel text")
    check_source()


def test_dropped_column_is_named_as_it_was_injected_and_no_other(source: Query, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.jsonl"
    sample(
        "generate", "--orders", 10, "--replace", "--anomalies", "dropped_column", "--manifest", manifest
    )  # fmt: skip
    with pytest.raises(SourceContractError) as error:
        check_source()
    injected = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [(row["entity"], row["column"]) for row in injected] == re.findall(
        r"sales\.(\w+): the source has no column (\w+)", str(error.value)
    )
    assert {row["outcome"] for row in injected} == {"stopped"}


def test_sales_are_sorted_by_purchase_time_and_customer() -> None:
    assert sort_orders() == {"silver.fact_sales": ["order_purchase_timestamp", "customer_id"]}
