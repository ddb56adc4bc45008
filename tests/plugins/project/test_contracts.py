"""The gold tables' contracts."""

from typing import Any

import pytest

from medallion.project.contracts import GoldTable, gold_tables, postgres_type
from medallion.project.manifest import ManifestError

from ..conftest import Models


@pytest.mark.parametrize(
    ("trino", "postgres"),
    [
        ("varchar", "text"),
        ("bigint", "bigint"),
        ("date", "date"),
        ("double", "double precision"),
        ("timestamp(6)", "timestamp without time zone"),
        ("decimal(18, 4)", "numeric(18,4)"),
    ],
)
def test_types_of_contracts(trino: str, postgres: str) -> None:
    assert postgres_type(trino) == postgres


@pytest.mark.parametrize(
    "name", ["timestamp(6) with time zone", "integer", "array(varchar)", "row(a bigint)", "varchar(9)"]
)
def test_type_that_no_contract_uses_is_refused(name: str) -> None:
    with pytest.raises(KeyError):
        postgres_type(name)


def test_gold_tables_have_their_keys_and_columns() -> None:
    tables = {table.name: table for table in gold_tables()}
    assert {name: table.key for name, table in tables.items()} == {
        "devices_by_site": ["site"],
        "readings_by_day": ["day"],
        "readings_by_device_month": ["device_id", "month"],
    }
    assert tables["readings_by_day"].columns == {
        "day": "date",
        "readings": "bigint",
        "total": "numeric(18,2)",
    }


def test_text_of_any_length_fits_into_the_index_of_a_key() -> None:
    table = GoldTable("t", ["name", "day"], {"name": "varchar", "day": "date"})
    assert table.index_expressions == ["md5(name)", "day"]


def gold_model(**columns: str) -> dict[str, Any]:
    return {
        "name": "devices_by_site",
        "resource_type": "model",
        "schema": "gold",
        "config": {"unique_key": ["site"]},
        "columns": {name: {"name": name, "data_type": kind} for name, kind in columns.items()},
    }


def test_unsupported_type_is_refused_by_the_model_and_column(declare: Models) -> None:
    declare({"nodes": {"a": gold_model(site="varchar", tags="array(varchar)")}})
    with pytest.raises(
        ManifestError, match=r"Gold model devices_by_site, column tags: .* type array\(varchar\)"
    ):
        gold_tables()


def test_bookkeeping_may_have_any_type(declare: Models) -> None:
    declare({"nodes": {"a": gold_model(site="varchar", _batch="integer")}})
    assert [table.columns for table in gold_tables()] == [{"site": "text"}]


def test_project_without_gold_models_has_no_table(declare: Models) -> None:
    declare({"nodes": {}})
    assert gold_tables() == []
