"""The gold tables' contracts."""

import re
from typing import Any

import pytest

from medallion.project.contracts import gold_tables, postgres_type
from medallion.project.manifest import ManifestError

from ..conftest import Models


@pytest.mark.parametrize(
    ("trino", "postgres"),
    [
        ("boolean", "boolean"),
        ("smallint", "smallint"),
        ("INTEGER", "integer"),
        ("bigint", "bigint"),
        ("real", "real"),
        ("double", "double precision"),
        ("decimal(18, 4)", "numeric(18,4)"),
        ("decimal(9)", "numeric(9,0)"),
        ("decimal", "numeric(38,0)"),
        ("varchar", "text"),
        ("varchar(9)", "character varying(9)"),
        ("char(3)", "character(3)"),
        ("date", "date"),
        ("time(0)", "time(0) without time zone"),
        ("time(6)", "time without time zone"),
        ("timestamp", "timestamp(3) without time zone"),
        ("timestamp(6)", "timestamp without time zone"),
        ("timestamp(3)  with time zone", "timestamp(3) with time zone"),
        ("timestamp(6) with time zone", "timestamp with time zone"),
        ("uuid", "uuid"),
        ("json", "jsonb"),
        ("varbinary", "bytea"),
    ],
)
def test_types_of_contracts(trino: str, postgres: str) -> None:
    assert postgres_type(trino) == postgres


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "text",
            "tinyint",
            "array(varchar)",
            "row(a bigint)",
            "ipaddress",
            "varchar(0)",
            "varchar(99999999)",
        ),
        *("decimal(39,0)", "decimal(4,5)", "timestamp(9)", "time(6) with time zone", "bigint; drop table x"),
    ],
)
def test_type_that_no_contract_uses_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(name)):
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


def gold_model(name: str = "devices_by_site", key: Any = "site", **columns: str | None) -> dict[str, Any]:
    return {
        "name": name,
        "resource_type": "model",
        "schema": "gold",
        "config": {"unique_key": key},
        "columns": {name: {"name": name, "data_type": kind} for name, kind in columns.items()},
    }


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        (
            gold_model(site="varchar", tags="array(varchar)"),
            r"Gold model devices_by_site, column tags: .* type array\(varchar\)\. Use boolean, .*, varchar\(n\)",
        ),
        (gold_model(site="varchar", tags=None), r"column tags: a contract can't have the type None"),
        (gold_model(key=None, site="varchar"), r"devices_by_site: it has no unique_key"),
        (gold_model(key=[], site="varchar"), r"devices_by_site: it has no unique_key"),
        (gold_model(key=["day"], site="varchar"), r"its unique_key names day, which is not among its columns"),
        (gold_model(key=["_batch"], site="varchar", _batch="bigint"), r"its unique_key names _batch"),
        (gold_model(site="json"), r"column site: json can't be in the unique_key"),
        (gold_model(), r"devices_by_site: its YAML has no columns"),
        (gold_model(site="varchar", Devices="bigint"), r"column Devices: .* lower case only"),
        (gold_model(site="varchar", **{"a.b": "bigint"}), r"column a\.b: .* without dots"),
        (gold_model(site="varchar", **{"é" * 32: "bigint"}), r"at most 63 bytes"),
        (gold_model(site="varchar", _deleted="boolean"), r"column _deleted: .*which staging uses"),
        (gold_model("Devices", site="varchar"), r"Gold model Devices: the name of a gold table .*Rename the file"),
        (gold_model("d" * 46, site="varchar"), r"the name of a gold table has at most 45"),
        (gold_model("publication", site="varchar"), r"is not `publication`, which is a table of the product"),
    ],
)  # fmt: skip
def test_contract_that_cannot_be_published_is_refused_by_name(
    declare: Models, model: dict[str, Any], fault: str
) -> None:
    declare({"nodes": {"a": model}})
    with pytest.raises(ManifestError, match=fault):
        gold_tables()


def test_every_fault_is_named_at_once(declare: Models) -> None:
    declare(
        {"nodes": {"a": gold_model("one", site="text"), "b": gold_model("two", key=None, site="varchar")}}
    )
    with pytest.raises(ManifestError, match=r"model one, column site(.|\n)*model two: it has no unique_key"):
        gold_tables()


def test_table_that_is_named_like_the_index_of_another_is_refused(declare: Models) -> None:
    declare(
        {"nodes": {"a": gold_model("sites", site="varchar"), "b": gold_model("sites_key", site="varchar")}}
    )
    with pytest.raises(ManifestError, match="model sites_key: the index of the table sites has that name"):
        gold_tables()


def test_names_of_any_kind_are_columns(declare: Models) -> None:
    names = ["order", "a b", "it's", 'a "b"', "100%", "é", "%s", "{{ x }}"]
    declare({"nodes": {"a": gold_model(key="order", **dict.fromkeys(names, "varchar"))}})
    [table] = gold_tables()
    assert table.key == ["order"] and list(table.columns) == names


def test_bookkeeping_may_have_any_type(declare: Models) -> None:
    declare({"nodes": {"a": gold_model(site="varchar", _batch="integer")}})
    assert [table.columns for table in gold_tables()] == [{"site": "text"}]


def test_project_without_gold_models_has_no_table(declare: Models) -> None:
    declare({"nodes": {}})
    assert gold_tables() == []
