"""Contracts that change: publishing drops tables and columns that left the project, unless a view reads them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from medallion.project import contracts
from medallion.project.contracts import GoldTable
from medallion.publish import tables
from support.task_instance import ROLLBACK, Task

from ..conftest import Query, Stage, choose_publication, create_staging, publish, restore

TABLE = "order"
COLUMNS = (
    "select attname, format_type(atttypid, atttypmod) from pg_attribute"
    " where attrelid = 'gold.\"order\"'::regclass and attnum > 0 and not attisdropped order by attname"
)
# A contract whose names must be quoted, and rows that are staged for it.
CONTRACT = {"limit": "varchar", 'it\'s "100%"': "decimal(18,2)", "a b": "bigint"}
ROWS: list[dict[str, Any]] = [
    {"limit": "x", 'it\'s "100%"': 1.25, "a b": 1, "_deleted": False},
    {"limit": "y", 'it\'s "100%"': 2.5, "a b": 2, "_deleted": False},
]
# Another table of gold, with a single column.
OTHER = GoldTable("other", ["n"], {"n": "bigint"})

Publish = Callable[..., None]


@pytest.fixture
def publish_contract(gold: Query, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Publish all rows of the table `order` under a contract; without a contract the project lacks the model.

    `other`: the values of the table OTHER; None if the project lacks that model.
    """
    number = 0

    def publish_contract(
        contract: dict[str, str] | None,
        *rows: dict[str, Any],
        key: str = "limit",
        other: tuple[int, ...] | None = None,
    ) -> None:
        nonlocal number
        number += 1
        models = [GoldTable(TABLE, [key], contract)] if contract else []
        models += [OTHER] if other is not None else []
        for module in ("..conftest", contracts, tables, "medallion.publish.audit"):
            name = module if isinstance(module, str) else module.__name__
            name = name.replace("..conftest", create_staging.__module__)
            monkeypatch.setattr(f"{name}.gold_tables", lambda: models)
        others = [{"n": value, "_deleted": False} for value in other or ()]
        audited = stage(f"run {number}", **{TABLE: list(rows), OTHER.name: others})
        publish(Task(f"run {number}", "publish"), audited | {"base_snapshots": {}})

    return publish_contract


@pytest.fixture
def reports(gold: Query) -> Iterator[Query]:
    """Create the schema `reports`; the fixture is a function that creates its view `view` from a select."""
    gold("create schema reports")
    yield lambda select: gold(f"create view reports.view as {select}")
    gold("drop schema reports cascade")


def test_names_of_any_kind_are_published(gold: Query, publish_contract: Publish) -> None:
    publish_contract(CONTRACT, *ROWS)
    publish_contract(CONTRACT, ROWS[1] | {"a b": 3})
    assert gold('select * from gold."order"') == [("y", 2.5, 3)]


def test_column_leaves_comes_and_changes_its_type(gold: Query, publish_contract: Publish) -> None:
    publish_contract(CONTRACT, *ROWS)
    gold('comment on table gold."order" is $$ours$$; grant select on gold."order" to public')
    publish_contract(
        {"limit": "varchar", "a b": "varchar", "new": "date"},
        {"limit": "y", "a b": "two", "new": "2018-01-01", "_deleted": False},
        {"limit": "z", "a b": "3", "new": None, "_deleted": False},
    )
    assert gold(COLUMNS) == [("a b", "text"), ("limit", "text"), ("new", "date")]
    assert gold('select "limit", "a b", new::text from gold."order" order by 1') == [
        ("y", "two", "2018-01-01"),
        ("z", "3", None),
    ]
    publish_contract(CONTRACT | {"a b": "bigint"}, *ROWS)
    assert gold('select "a b" from gold."order" order by 1') == [(1,), (2,)]
    assert gold("select obj_description('gold.\"order\"'::regclass)") == [("ours",)]
    assert gold("select has_table_privilege('public', 'gold.\"order\"', 'select')") == [(True,)]


def test_column_of_the_key_leaves(gold: Query, publish_contract: Publish) -> None:
    publish_contract(CONTRACT, *ROWS)
    publish_contract({"a b": "bigint"}, {"a b": 1, "_deleted": False}, key="a b")
    publish_contract({"a b": "bigint"}, {"a b": 2, "_deleted": False}, key="a b")
    assert gold('select * from gold."order"') == [(2,)]


def test_key_changes(gold: Query, publish_contract: Publish) -> None:
    publish_contract(CONTRACT, *ROWS)
    publish_contract(CONTRACT, ROWS[0], ROWS[1] | {"limit": None}, key="a b")
    publish_contract(CONTRACT, ROWS[0], ROWS[1] | {"limit": "x"}, key="a b")
    assert gold('select "limit", "a b" from gold."order" order by 2') == [("x", 1), ("x", 2)]


def test_column_that_a_view_reads_stays_without_values(
    gold: Query, reports: Query, publish_contract: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    publish_contract(CONTRACT, *ROWS)
    reports('select "limit", "a b" from gold."order"')
    left = {name: kind for name, kind in CONTRACT.items() if name != "a b"}
    rows = [{name: value for name, value in row.items() if name != "a b"} for row in ROWS]
    for _ in range(2):
        caplog.clear()
        publish_contract(left, *rows)
        assert gold("select * from reports.view order by 1") == [("x", None), ("y", None)]
        assert "gold.order.a b: the column left the model and is null. reports.view reads it" in caplog.text
    [(marked,)] = gold("select col_description('gold.\"order\"'::regclass, 3)")
    assert marked.startswith("medallion: the column left the model")
    gold("drop view reports.view")
    publish_contract(left, *rows)
    assert "a b" not in dict(gold(COLUMNS))


def test_type_that_a_view_depends_on_stays_as_long_as_it_holds_the_values(
    gold: Query, reports: Query, publish_contract: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    publish_contract(CONTRACT, *ROWS, other=(1,))
    reports('select "it\'s ""100%""" from gold."order"')
    wider = CONTRACT | {'it\'s "100%"': "decimal(20,4)"}
    publish_contract(wider, *ROWS, ROWS[0] | {"limit": "z"})
    assert gold("select count(*) from reports.view") == [(3,)]
    assert dict(gold(COLUMNS))['it\'s "100%"'] == "numeric(18,2)"
    assert "the column should be numeric(20,4). reports.view reads it" in caplog.text
    # The earlier type, which the view still needs, would round this value.
    publish_contract(wider, ROWS[0] | {'it\'s "100%"': 0.1234}, other=(2,))
    assert gold("select count(*) from reports.view") == [(3,)]
    assert gold("select n from gold.other") == [(2,)]
    assert "The table keeps its rows until then" in caplog.text
    gold("drop view reports.view")
    publish_contract(wider, ROWS[0] | {'it\'s "100%"': 0.1234})
    assert gold('select "it\'s ""100%%""" :: text from gold."order"', ()) == [("0.1234",)]
    assert gold("select col_description('gold.\"order\"'::regclass, 2)") == [(None,)]


def test_table_of_a_model_that_left_is_dropped_and_others_stay(
    gold: Query, publish_contract: Publish
) -> None:
    publish_contract(CONTRACT, *ROWS)
    gold("create table gold.by_hand (n bigint)")
    publish_contract(None)
    names = gold("select tablename from pg_tables where schemaname = 'gold' order by 1")
    assert names == [("by_hand",), ("publication",)]


def test_table_of_a_model_that_left_stays_for_a_view(
    gold: Query, reports: Query, publish_contract: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    publish_contract(CONTRACT, *ROWS)
    reports('select * from gold."order"')
    for _ in range(2):
        caplog.clear()
        publish_contract(None)
        assert (
            "the model left the project, and the table is not published any more. reports.view" in caplog.text
        )
    assert gold("select count(*) from reports.view") == [(2,)]
    gold("drop view reports.view")
    publish_contract(None)
    assert gold("select to_regclass('gold.\"order\"')") == [(None,)]


def test_table_of_a_model_that_came_back_is_published_again(
    gold: Query, reports: Query, publish_contract: Publish
) -> None:
    publish_contract(CONTRACT, *ROWS)
    reports('select * from gold."order"')
    publish_contract(None)
    publish_contract(CONTRACT, ROWS[0])
    assert gold("select count(*), obj_description('gold.\"order\"'::regclass) from reports.view") == [
        (1, None)
    ]


@pytest.mark.usefixtures("catalog")
def test_roll_back_with_a_table_that_left_and_a_younger_one(
    gold: Query, publish_contract: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_contract(CONTRACT, *ROWS)
    publish_contract(None, other=(1, 2))
    monkeypatch.setattr("medallion.publish.rollback.model_tables", lambda: {"gold.other"})
    task = Task("back", dag=ROLLBACK)
    chosen = choose_publication(task, {"to_batch": 1})
    create_staging(gold, f"other_{chosen['staging']}", OTHER.columns)
    assert restore(task, chosen) == {"other": 0}
    assert gold("select batch from gold.publication") == [(1,)]
    with pytest.raises(AirflowSkipException, match="Publishing is resumed"):
        choose_publication(Task("resume", dag=ROLLBACK), {"to_batch": None})
    publish_contract(None, other=(2, 3))
    assert gold("select n from gold.other order by 1") == [(2,), (3,)]
    assert gold("select to_regclass('gold.\"order\"')") == [(None,)]
