"""What a run left in the lake: read from a real Iceberg catalog, kept in a real PostgreSQL."""

import json
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowFailException
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update import AddSnapshotUpdate, SetSnapshotRefUpdate

from medallion.publish.audit import audit_run
from medallion.run.attempts import AttemptListener
from medallion.run.lease import hold_lease
from support.task_instance import Task

from ..conftest import Gold, ran

ACCOUNT = (
    "batch",
    "entity",
    "read",
    "current",
    "deleted",
    "superseded",
    "quarantined",
    "latest",
    "rejected_latest",
)
NOTHING_ALLOWED = {"allow_rejected": False}


@pytest.fixture
def lake(catalog: SqlCatalog) -> SqlCatalog:
    """The catalog: bronze.orders with 3 rows, gold.sales_by_day, and no accounts."""
    append(catalog, "bronze.orders", 3)
    append(catalog, "gold.sales_by_day", 1)
    catalog.create_table("gold.seller_analytics", pa.schema([("n", pa.int64())]))  # never written to
    return catalog


def append(catalog: SqlCatalog, name: str, rows: int) -> int:
    """Append rows to a table, made if there is none; returns the snapshot's id."""
    data = pa.table({"n": pa.array(range(rows), pa.int64())})
    table = catalog.create_table_if_not_exists(name, data.schema)
    table.append(data)
    snapshot = table.current_snapshot()
    assert snapshot
    return snapshot.snapshot_id


def compact(catalog: SqlCatalog, name: str) -> int:
    """Commit what an engine's compaction does: the same records, in other files; returns the snapshot's id."""
    table = catalog.load_table(name)
    before = table.current_snapshot()
    assert before and before.summary
    records = before.summary["total-records"] or ""
    summary = Summary(Operation.REPLACE, **{"added-records": records, "total-records": records})
    after = before.model_copy(
        update={
            "snapshot_id": before.snapshot_id - 1,
            "parent_snapshot_id": before.snapshot_id,
            "sequence_number": table.metadata.last_sequence_number + 1,
            "timestamp_ms": before.timestamp_ms + 1,
            "summary": summary,
        }
    )
    to_main = SetSnapshotRefUpdate(ref_name="main", type="branch", snapshot_id=after.snapshot_id)
    catalog.commit_table(table, (), (AddSnapshotUpdate(snapshot=after), to_main))
    return after.snapshot_id


def account(catalog: SqlCatalog, *rows: tuple[Any, ...]) -> None:
    """Write accounts as the Spark jobs do."""
    data = pa.table({name: [row[place] for row in rows] for place, name in enumerate(ACCOUNT)})
    catalog.create_table_if_not_exists("silver.entity_accounts", data.schema).append(data)


def audit(run: str = "a", **params: Any) -> dict[str, Any]:
    return audit_run(Task(run, task_id="audit"), NOTHING_ALLOWED | params)


def test_snapshots_of_all_layers_are_kept_and_returned(gold: Gold, lake: SqlCatalog) -> None:
    orders = append(lake, "bronze.orders", 4)
    days = lake.load_table("gold.sales_by_day").current_snapshot()
    assert days
    audited = audit()
    assert audited["snapshots"] == {"bronze.orders": orders, "gold.sales_by_day": days.snapshot_id}
    assert (audited["batch"], audited["base_batch"], audited["base_snapshots"]) == (1, 0, {})
    assert gold("select batch, table_name, snapshot_id, total_records from audit.snapshots order by 2") == [
        (1, "bronze.orders", orders, 7),
        (1, "gold.sales_by_day", days.snapshot_id, 1),
    ]


def publish_orders(gold: Gold, snapshot: int) -> None:
    """The last publication was made from this snapshot of `bronze.orders`."""
    gold(
        "update audit.pipeline set published_snapshots = jsonb_build_object('bronze.orders', %s::bigint)",
        (snapshot,),
    )


def test_records_are_those_since_the_publication(gold: Gold, lake: SqlCatalog) -> None:
    published = append(lake, "bronze.orders", 4)
    publish_orders(gold, published)
    append(lake, "bronze.orders", 5)
    append(lake, "bronze.orders", 6)
    for task_id in ("bronze.orders", "gold.sales_by_day"):
        AttemptListener().on_task_instance_running(None, Task("a", task_id=task_id))
    audit()
    tries = (
        "select task_id, records_processed from audit.data_pipeline_runs where task_id <> 'audit' order by 1"
    )
    assert gold(tries) == [("bronze.orders", 11), ("gold.sales_by_day", 1)]


def test_compaction_processes_no_record(gold: Gold, lake: SqlCatalog) -> None:
    published = append(lake, "bronze.orders", 4)
    publish_orders(gold, published)
    append(lake, "bronze.orders", 5)
    compacted = compact(lake, "bronze.orders")
    AttemptListener().on_task_instance_running(None, Task("a", task_id="bronze.orders"))
    assert audit()["snapshots"]["bronze.orders"] == compacted
    assert gold("select records_processed from audit.data_pipeline_runs where task_id = 'bronze.orders'") == [
        (5,)
    ]


def test_records_of_a_spark_task_are_what_its_entities_read_under_this_batch(
    gold: Gold, lake: SqlCatalog
) -> None:
    gold("update audit.pipeline set last_batch = 4")
    hold_lease(Task("a"))
    account(lake, (5, "orders", 7, 7, 0, 0, 0, 7, 0),
            (5, "order_items", 9, 9, 0, 0, 0, 9, 0), (5, "sellers", 1, 1, 0, 0, 0, 1, 0),
            (4, "orders", 90, 90, 0, 0, 0, 90, 0))  # fmt: skip
    AttemptListener().on_task_instance_running(None, Task("a", task_id="entities.spark"))
    audit()
    tries = (
        "select task_id, records_processed from audit.data_pipeline_runs where task_id <> 'audit' order by 1"
    )
    assert gold(tries) == [("entities.spark", 17)]


def test_accounts_of_batches_not_yet_published_are_kept(gold: Gold, lake: SqlCatalog) -> None:
    gold("update audit.pipeline set published_batch = 3, last_batch = 4")
    account(lake, *[(batch, "orders", batch, 1, 1, 1, 1, 4, 0) for batch in (3, 4, 5)])
    audit()
    assert gold("select batch, read from audit.entity_accounts order by 1") == [(4, 4), (5, 5)]


def test_audit_may_be_repeated(gold: Gold, lake: SqlCatalog) -> None:
    account(lake, (1, "orders", 3, 3, 0, 0, 0, 3, 0))
    audit()
    later = append(lake, "bronze.orders", 2)
    assert audit()["snapshots"]["bronze.orders"] == later
    assert gold(
        "select snapshot_id, total_records from audit.snapshots where table_name = 'bronze.orders'"
    ) == [(later, 5)]
    assert gold("select count(*) from audit.entity_accounts") == [(1,)]


def test_each_try_of_the_audit_has_its_own_staging(gold: Gold, lake: SqlCatalog) -> None:
    """What an earlier one had staged is not what this one says is published."""
    tries = [Task("a", task_id="audit", try_number=number) for number in (1, 2)]
    assert [audit_run(each, NOTHING_ALLOWED)["staging"] for each in tries] == ["1_1", "1_2"]


def test_too_many_rejected_rows_stop_the_run_with_its_figures_kept(gold: Gold, lake: SqlCatalog) -> None:
    account(lake, (1, "orders", 200, 180, 0, 0, 20, 200, 20))
    with pytest.raises(AirflowFailException, match="orders: 20 of 200 rows broke a rule"):
        audit()
    assert gold("select entity, quarantined, rejected_latest from audit.entity_accounts") == [
        ("orders", 20, 20)
    ]
    assert audit(allow_rejected=True)["batch"] == 1


def test_source_that_was_mended_lets_the_next_run_pass(gold: Gold, lake: SqlCatalog) -> None:
    account(lake, (2, "orders", 200, 200, 0, 0, 0, 200, 0), (1, "orders", 200, 180, 0, 0, 20, 200, 20))
    account(lake, (1, "sellers", 3, 3, 0, 0, 0, 3, 0))
    gold("update audit.pipeline set last_batch = 1")
    assert audit()["batch"] == 2


def test_rebuild_is_compared_with_nothing(gold: Gold, lake: SqlCatalog) -> None:
    hold_lease(Task("a"))
    published = {"gold.sales_by_day": 42, "silver.fact_sales": 43}
    gold("update audit.pipeline set published_snapshots = %s", (json.dumps(published),))
    gold("create table gold.sales_by_day (day date)")
    assert audit()["base_snapshots"] == published
    gold("update audit.pipeline set rebuild = 'gold', rebuild_batch = 1")
    assert audit()["base_snapshots"] == {}


def test_table_that_bi_has_lost_is_published_whole(gold: Gold, lake: SqlCatalog) -> None:
    published = {"gold.sales_by_day": 42, "gold.seller_analytics": 43, "silver.fact_sales": 44}
    gold("update audit.pipeline set published_snapshots = %s", (json.dumps(published),))
    gold("create table gold.seller_analytics (seller_id text)")
    assert audit()["base_snapshots"] == {"gold.seller_analytics": 43, "silver.fact_sales": 44}


def made(run: str, *tasks: str, **options: Any) -> None:
    """Tasks of a run were done, under the lease, in order."""
    for task_id in tasks:
        task = Task(run, task_id=task_id, **options)
        hold_lease(task)
        ran(task)


def give_back(gold: Gold) -> None:
    gold("update audit.pipeline set lease_dag_id = null, lease_run_id = null, lease_batch = null")


def test_run_does_not_publish_what_another_one_left_in_silver(gold: Gold, lake: SqlCatalog) -> None:
    made("a", "bronze.orders", "entities.spark", "silver.fact_sales")
    give_back(gold)
    made("b", "bronze.orders", "entities.spark")
    give_back(gold)
    made("a", "gold.sales_by_day", try_number=2)
    with pytest.raises(AirflowFailException, match=r"run b has written silver or gold \(batch 2\)"):
        audit("a")
    assert gold("select count(*) from audit.snapshots") == [(0,)]
    made("a", "entities.spark", "silver.fact_sales", "gold.sales_by_day", try_number=3)
    assert audit("a")["batch"] == 3
    give_back(gold)
    made("b", "silver.fact_sales", try_number=2)
    with pytest.raises(AirflowFailException, match="run a has written"):
        audit("b")
    gold("update audit.pipeline set published_batch = 3")
    assert audit("b")["batch"] == 4


def test_run_publishes_beside_one_that_wrote_nothing_but_bronze(gold: Gold, lake: SqlCatalog) -> None:
    made("a", "bronze.orders", "entities.spark", "gold.sales_by_day")
    give_back(gold)
    made("b", "bronze.orders")
    idle = Task("b", task_id="entities.spark")
    hold_lease(idle)
    AttemptListener().on_task_instance_running(None, idle)
    AttemptListener().on_task_instance_skipped(None, idle)
    give_back(gold)
    assert audit("a")["batch"] == 3


@pytest.mark.parametrize("is_told", [True, False], ids=["it failed", "its process was killed"])
def test_run_does_not_publish_what_another_one_captured_and_did_not_test(
    gold: Gold, lake: SqlCatalog, is_told: bool
) -> None:
    """A test of bronze stopped that one; cleared above bronze, this one makes its entities of those rows, too."""
    made("a", "bronze.orders")
    give_back(gold)
    failed = Task("b", task_id="bronze.orders")
    hold_lease(failed)
    AttemptListener().on_task_instance_running(None, failed)
    if is_told:
        AttemptListener().on_task_instance_failed(None, failed, "a test failed")
    give_back(gold)
    made("a", "entities.spark", "gold.sales_by_day", try_number=2)
    with pytest.raises(AirflowFailException, match=r"bronze\.orders of run b did not end well"):
        audit("a")
    made("a", "bronze.orders", "entities.spark", "gold.sales_by_day", try_number=3)
    assert audit("a")["batch"] == 3


def test_capture_of_a_table_that_was_taken_out_keeps_no_run_from_publishing(
    gold: Gold, lake: SqlCatalog
) -> None:
    failed = Task("a", task_id="bronze.invoices")
    hold_lease(failed)
    AttemptListener().on_task_instance_running(None, failed)
    AttemptListener().on_task_instance_failed(None, failed, "no such column")
    give_back(gold)
    made("b", "bronze.orders", "entities.spark", "gold.sales_by_day")
    without = Task("b", task_id="audit", bystanders=("bronze.invoices",))
    assert audit_run(without, NOTHING_ALLOWED)["batch"] == 2


@pytest.mark.parametrize(("again", "refused"), [("entities.spark", True), ("entities.test", False)])
def test_task_that_was_cleared_alone_while_others_ran_is_named(
    gold: Gold, lake: SqlCatalog, again: str, refused: bool
) -> None:
    made("a", "entities.spark", "entities.test", "gold.sales_by_day")
    made("a", again, try_number=2)
    follows = {"gold.sales_by_day": {"entities.spark", "entities.test"}}
    task = Task("a", task_id="audit", follows=follows)
    if refused:
        with pytest.raises(
            AirflowFailException, match=f"{again} has written after gold.sales_by_day had read"
        ):
            audit_run(task, NOTHING_ALLOWED)
    else:
        assert audit_run(task, NOTHING_ALLOWED)["batch"] == 1


MODELS = ("entities.spark", "silver.fact_sales", "gold.sales_by_day", "gold.seller_analytics")


def of_dag(run: str = "a") -> Task:
    """The audit of a run, which follows all models."""
    return Task(run, task_id="audit", task_ids=MODELS)


@pytest.mark.parametrize("is_told", [True, False], ids=["it failed", "its process was killed"])
def test_model_that_failed_and_was_marked_as_done_is_not_published_around(
    gold: Gold, lake: SqlCatalog, is_told: bool
) -> None:
    made("a", "entities.spark", "silver.fact_sales", "gold.seller_analytics")
    failed = Task("a", task_id="gold.sales_by_day")
    hold_lease(failed)
    AttemptListener().on_task_instance_running(None, failed)
    if is_told:
        AttemptListener().on_task_instance_failed(None, failed, "out of memory")
    with pytest.raises(AirflowFailException, match=r"gold\.sales_by_day was not made of what the run read"):
        audit_run(of_dag(), NOTHING_ALLOWED)
    made("a", "gold.sales_by_day", try_number=2)
    assert audit_run(of_dag(), NOTHING_ALLOWED)["batch"] == 1


def test_models_that_a_run_left_out_are_made_before_it_publishes(gold: Gold, lake: SqlCatalog) -> None:
    made("a", "entities.spark", "silver.fact_sales")
    with pytest.raises(AirflowFailException, match=r"gold\.sales_by_day .*`up_to`: clear it"):
        audit_run(of_dag(), NOTHING_ALLOWED)


def test_run_that_has_no_news_when_it_is_cleared_needs_none_of_its_models(
    gold: Gold, lake: SqlCatalog
) -> None:
    made("a", "entities.spark", "silver.fact_sales", "gold.seller_analytics")
    failed = Task("a", task_id="gold.sales_by_day")
    AttemptListener().on_task_instance_running(None, failed)
    AttemptListener().on_task_instance_failed(None, failed, "out of memory")
    give_back(gold)
    made("b", *MODELS)
    gold("update audit.pipeline set published_batch = 2")
    give_back(gold)
    idle = Task("a", task_id="entities.spark", try_number=2)
    hold_lease(idle)
    AttemptListener().on_task_instance_running(None, idle)
    AttemptListener().on_task_instance_skipped(None, idle)
    assert audit_run(of_dag(), NOTHING_ALLOWED)["batch"] == 3
