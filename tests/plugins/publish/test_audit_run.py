"""The audit of a run, with a real Iceberg catalog and a real PostgreSQL."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowFailException
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update import AddSnapshotUpdate, SetSnapshotRefUpdate

from medallion.project.declarations import declarations
from medallion.publish import rejected
from medallion.run.attempts import AttemptListener
from medallion.run.lease import hold_lease
from support.task_instance import HOURLY, Task, dag_of

from ..conftest import Query, audit_run, forget_lease, record_success

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
    """The catalog with three rows in bronze.readings, one in gold.readings_by_day, and no accounts."""
    append(catalog, "bronze.readings", 3)
    append(catalog, "gold.readings_by_day", 1)
    catalog.create_table("gold.devices_by_site", pa.schema([("n", pa.int64())]))  # never written to
    return catalog


def append(catalog: SqlCatalog, name: str, rows: int) -> int:
    """Append rows to a table, which is created if it is missing; returns the snapshot's id."""
    data = pa.table({"n": pa.array(range(rows), pa.int64())})
    table = catalog.create_table_if_not_exists(name, data.schema)
    table.append(data)
    snapshot = table.current_snapshot()
    assert snapshot
    return snapshot.snapshot_id


def compact(catalog: SqlCatalog, name: str) -> int:
    """Commit what a compaction commits, the same records in other files; returns the snapshot's id."""
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
    return dict(audit_run(Task(run, "audit"), NOTHING_ALLOWED | params))


def test_snapshots_of_all_layers_are_kept_and_returned(gold: Query, lake: SqlCatalog) -> None:
    readings = append(lake, "bronze.readings", 4)
    days = lake.load_table("gold.readings_by_day").current_snapshot()
    assert days
    audited = audit()
    assert audited["snapshots"] == {"bronze.readings": readings, "gold.readings_by_day": days.snapshot_id}
    assert (audited["batch"], audited["base_batch"], audited["base_snapshots"]) == (1, 0, {})
    assert gold("select batch, table_name, snapshot_id, total_records from audit.snapshots order by 2") == [
        (1, "bronze.readings", readings, 7),
        (1, "gold.readings_by_day", days.snapshot_id, 1),
    ]


def record_published(gold: Query, snapshot: int) -> None:
    """Record that the last publication read this snapshot of `bronze.readings`."""
    gold(
        "update audit.pipeline set published_snapshots = jsonb_build_object('bronze.readings', %s::bigint)",
        (snapshot,),
    )


def test_records_are_those_since_the_publication(gold: Query, lake: SqlCatalog) -> None:
    published = append(lake, "bronze.readings", 4)
    record_published(gold, published)
    append(lake, "bronze.readings", 5)
    append(lake, "bronze.readings", 6)
    for task_id in ("bronze.readings", "gold.readings_by_day"):
        record_success(Task("a", task_id))
    audit()
    tries = (
        "select task_id, records_processed from audit.data_pipeline_runs where task_id <> 'audit' order by 1"
    )
    assert gold(tries) == [("bronze.readings", 11), ("gold.readings_by_day", 1)]


def test_compaction_processes_no_record(gold: Query, lake: SqlCatalog) -> None:
    published = append(lake, "bronze.readings", 4)
    record_published(gold, published)
    append(lake, "bronze.readings", 5)
    compacted = compact(lake, "bronze.readings")
    record_success(Task("a", "bronze.readings"))
    assert audit()["snapshots"]["bronze.readings"] == compacted
    assert gold(
        "select records_processed from audit.data_pipeline_runs where task_id = 'bronze.readings'"
    ) == [(5,)]


def test_records_of_a_spark_task_are_what_its_entities_read_under_this_batch(
    gold: Query, lake: SqlCatalog
) -> None:
    gold("update audit.pipeline set last_batch = 4")
    hold_lease(Task("a"))
    account(lake, (5, "readings", 7, 7, 0, 0, 0, 7, 0), (5, "devices", 9, 9, 0, 0, 0, 9, 0),
            (4, "readings", 90, 90, 0, 0, 0, 90, 0))  # fmt: skip
    AttemptListener().on_task_instance_running(None, Task("a", "silver_staging.spark"))
    audit()
    tries = (
        "select task_id, records_processed from audit.data_pipeline_runs where task_id <> 'audit' order by 1"
    )
    assert gold(tries) == [("silver_staging.spark", 16)]


def test_accounts_of_batches_not_yet_published_are_kept(gold: Query, lake: SqlCatalog) -> None:
    gold("update audit.pipeline set published_batch = 3, last_batch = 4")
    account(lake, *[(batch, "readings", batch, 1, 1, 1, 1, 4, 0) for batch in (3, 4, 5)])
    audit()
    assert gold("select batch, read from audit.entity_accounts order by 1") == [(4, 4), (5, 5)]


def test_audit_may_be_repeated(gold: Query, lake: SqlCatalog) -> None:
    account(lake, (1, "readings", 3, 3, 0, 0, 0, 3, 0))
    audit()
    later = append(lake, "bronze.readings", 2)
    assert audit()["snapshots"]["bronze.readings"] == later
    assert gold(
        "select snapshot_id, total_records from audit.snapshots where table_name = 'bronze.readings'"
    ) == [(later, 5)]
    assert gold("select count(*) from audit.entity_accounts") == [(1,)]


def test_manifests_of_each_table_are_merged_from_its_first_audit_on(gold: Query, lake: SqlCatalog) -> None:
    audit()
    tables = [
        lake.load_table(name) for layer in ("bronze", "silver", "gold") for name in lake.list_tables(layer)
    ]
    assert {table.properties.get("commit.manifest.min-count-to-merge") for table in tables} == {"4"}
    audit()
    assert [lake.load_table(table.name()).metadata_location for table in tables] == [
        table.metadata_location for table in tables
    ]


def test_metadata_files_of_each_table_stay_few(gold: Query, lake: SqlCatalog) -> None:
    """Each metadata file lists all snapshots. A year of hourly commits would fill the disk with these files."""
    audit()
    table = lake.load_table("gold.readings_by_day")
    for _ in range(30):
        table.append(pa.table({"n": [1]}))
    location = table.location().removeprefix("file://")
    assert len([*Path(location).glob("metadata/*.metadata.json")]) <= 21


def test_each_attempt_of_the_audit_has_its_own_staging(gold: Query, lake: SqlCatalog) -> None:
    """Rows that were staged after an earlier attempt may come from other snapshots."""
    attempts = [Task("a", "audit", try_number=number) for number in (1, 2)]
    assert [audit_run(attempt, NOTHING_ALLOWED)["staging"] for attempt in attempts] == ["1_1", "1_2"]


def test_too_many_rejected_rows_stop_the_run_with_its_figures_kept(gold: Query, lake: SqlCatalog) -> None:
    account(lake, (1, "readings", 200, 180, 0, 0, 20, 200, 20))
    with pytest.raises(AirflowFailException, match="readings: 20 of 200 rows broke a rule"):
        audit()
    assert gold("select entity, quarantined, rejected_latest from audit.entity_accounts") == [
        ("readings", 20, 20)
    ]
    assert audit(allow_rejected=True)["batch"] == 1


CODED = "site_invalid"
QUARANTINE = pa.schema(
    [("entity", pa.string()), ("rules", pa.list_(pa.string())), ("row", pa.string()),
     ("superseded", pa.bool_()), ("_batch", pa.int64())]
)  # fmt: skip


@pytest.fixture
def coded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Declare that a device is at one of two sites."""
    declared = declarations()
    devices = replace(declared["devices"], checks={CODED: "site in ('north', 'south')"})
    monkeypatch.setattr(rejected, "declarations", lambda: declared | {"devices": devices})


def quarantine(catalog: SqlCatalog, batch: int, *sites: str, superseded: bool = False) -> None:
    """Write devices that were rejected because of their sites, and an account of them, as the Spark job does."""
    rows = [
        {"entity": "devices", "rules": [CODED], "row": json.dumps({"device_id": "x", "site": site}),
         "superseded": superseded, "_batch": batch}
        for site in sites
    ]  # fmt: skip
    catalog.create_table_if_not_exists("silver.quarantine", QUARANTINE).append(
        pa.Table.from_pylist(rows, QUARANTINE)
    )
    account(catalog, (batch, "devices", 2109, 2059, 0, 0, len(sites), 2109, len(sites)))


NEW_VALUES = "select subject, message, reported_at from audit.findings where kind = 'new_value' order by 1"


def test_value_that_no_check_lists_is_a_finding_by_column_value_and_rows(
    gold: Query, lake: SqlCatalog, coded: None
) -> None:
    quarantine(lake, 1, *["pix"] * 50)
    quarantine(lake, 1, "old", superseded=True)
    audit()
    [(subject, message, reported)] = gold(NEW_VALUES)
    assert subject == "devices.site: pix" and reported is None
    assert "devices.site has the value 'pix', which the check site_invalid does not list: 50 rows" in message
    # The next run adds only the values that are new, and does not report an earlier value again.
    gold("update audit.findings set reported_at = now(); update audit.pipeline set published_batch = 1")
    quarantine(lake, 2, "pix", "east")
    audit()
    assert [(subject, reported is None) for subject, _, reported in gold(NEW_VALUES)] == [
        ("devices.site: east", True),
        ("devices.site: pix", False),
    ]


def test_large_share_of_all_rows_is_a_finding_until_it_is_smaller(
    gold: Query, lake: SqlCatalog, coded: None
) -> None:
    append(lake, "silver.stg_devices", 1000)
    quarantine(lake, 1, *["pix"] * 50)
    shares = (
        "select subject, message from audit.findings where kind = 'rejected_share' and cleared_at is null"
    )
    audit()
    assert gold(shares) == []
    quarantine(lake, 1, "east")
    audit()
    [(subject, message)] = gold(shares)
    assert subject == "devices" and message.startswith("51 of 1000 rows of devices are in silver.quarantine")
    append(lake, "silver.stg_devices", 100)
    audit()
    assert gold(shares) == []


def test_run_that_stops_names_rule_value_and_the_way_on(gold: Query, lake: SqlCatalog, coded: None) -> None:
    quarantine(lake, 1, *["pix"] * 150, *["east"] * 50)
    with pytest.raises(AirflowFailException) as stopped:
        audit()
    assert "Rows by rule: site_invalid 200 (site: 'pix' 150, 'east' 50)." in str(stopped.value)
    assert "make trigger ALLOW_REJECTED=1" in str(stopped.value)
    assert len(gold(NEW_VALUES)) == 2


def test_small_hour_is_judged_with_published_hours_until_a_person_accepts_it(
    gold: Query, lake: SqlCatalog
) -> None:
    """Every hour has ten rows. Nine of hour 13 are rejected, five of hour 14.

    All rows of hour 11 are rejected, but that hour did not publish, so it does not count.
    """
    for batch in range(1, 13):
        gold(
            "insert into audit.entity_accounts values (%s, 'readings', 10, 10, 0, 0, 0, 10, %s, 0)",
            (batch, 10 if batch == 11 else 0),
        )
        if batch != 11:
            gold("insert into audit.publications values (%s, 'r', null, now(), %s, '{}')", (batch, batch))
    gold("update audit.pipeline set last_batch = 12, published_batch = 12")
    account(lake, (13, "readings", 10, 1, 0, 0, 9, 10, 9))
    with pytest.raises(AirflowFailException, match="9 of 10 rows broke a rule, 9 of the last 100"):
        audit()
    audit(allow_rejected=True)
    assert gold("select batch from audit.entity_accounts where accepted") == [(13,)]
    gold("insert into audit.publications values (13, 'r', null, now(), 13, '{}')")
    gold("update audit.pipeline set published_batch = 13, last_batch = 13")
    forget_lease(gold)
    account(lake, (14, "readings", 10, 5, 0, 0, 5, 10, 5))
    assert audit("b")["batch"] == 14


def test_fixed_source_lets_the_next_run_pass(gold: Query, lake: SqlCatalog) -> None:
    account(lake, (2, "readings", 200, 200, 0, 0, 0, 200, 0), (1, "readings", 200, 180, 0, 0, 20, 200, 20))
    account(lake, (1, "devices", 3, 3, 0, 0, 0, 3, 0))
    gold("update audit.pipeline set last_batch = 1")
    assert audit()["batch"] == 2


READINGS_BY_DAY = "day date not null, readings bigint, total numeric(18,2)"
READINGS_BY_DAY_KEY = "create unique index readings_by_day_key on gold.readings_by_day (day)"


def test_rebuild_is_compared_with_nothing(gold: Query, lake: SqlCatalog) -> None:
    hold_lease(Task("a"))
    published = {"gold.readings_by_day": 42, "silver.fact_readings": 43}
    gold("update audit.pipeline set published_snapshots = %s", (json.dumps(published),))
    gold(f"create table gold.readings_by_day ({READINGS_BY_DAY}); {READINGS_BY_DAY_KEY}")
    assert audit()["base_snapshots"] == published
    gold("update audit.pipeline set rebuild = 'gold', rebuild_batch = 1")
    assert audit()["base_snapshots"] == {}


def test_table_that_bi_has_lost_or_in_another_shape_is_published_whole(gold: Query, lake: SqlCatalog) -> None:
    published = {"gold.readings_by_day": 42, "gold.devices_by_site": 43, "silver.fact_readings": 44}
    gold("update audit.pipeline set published_snapshots = %s", (json.dumps(published),))
    gold(f"create table gold.readings_by_day ({READINGS_BY_DAY})")
    assert audit()["base_snapshots"] == {"silver.fact_readings": 44}  # one gold table is gone, one has no key
    gold(READINGS_BY_DAY_KEY)
    assert audit()["base_snapshots"] == {"gold.readings_by_day": 42, "silver.fact_readings": 44}
    gold("alter table gold.readings_by_day add column note text")
    assert audit()["base_snapshots"] == {"silver.fact_readings": 44}


BRONZE, SPARK, TEST = "bronze.readings", "silver_staging.spark", "silver_staging.test"
MART, MARTS_TEST = "silver_marts.fact_readings", "silver_marts.test"
GOLD = ("gold.devices_by_site", "gold.readings_by_day", "gold.readings_by_device_month")
MODELS = (SPARK, MART, *GOLD)


def build(run: str, *tasks: str, try_number: int = 1) -> None:
    """Record that tasks of a run succeeded one after the other, under the lease."""
    for task_id in tasks:
        task = Task(run, task_id, try_number)
        hold_lease(task)
        record_success(task)


def fail(task: Task, is_reported: bool = True) -> None:
    """Record that a task started and failed. A task that was killed could not report its failure."""
    hold_lease(task)
    AttemptListener().on_task_instance_running(None, task)
    if is_reported:
        AttemptListener().on_task_instance_failed(None, task, "a reason")


def skip(task: Task) -> None:
    """Record that a task started and was skipped."""
    hold_lease(task)
    AttemptListener().on_task_instance_running(None, task)
    AttemptListener().on_task_instance_skipped(None, task)


def test_run_does_not_publish_what_another_one_left_in_silver(gold: Query, lake: SqlCatalog) -> None:
    build("a", BRONZE, SPARK, MART)
    forget_lease(gold)
    build("b", BRONZE, SPARK)
    forget_lease(gold)
    build("a", *GOLD, try_number=2)
    with pytest.raises(AirflowFailException, match=r"Run b has written silver or gold \(batch 2\)"):
        audit("a")
    assert gold("select count(*) from audit.snapshots") == [(0,)]
    build("a", *MODELS, try_number=3)
    assert audit("a")["batch"] == 3
    forget_lease(gold)
    build("b", MART, *GOLD, try_number=2)
    with pytest.raises(AirflowFailException, match="Run a has written"):
        audit("b")
    gold("update audit.pipeline set published_batch = 3")
    assert audit("b")["batch"] == 4


def test_run_publishes_beside_one_that_wrote_nothing_but_bronze(gold: Query, lake: SqlCatalog) -> None:
    build("a", BRONZE, *MODELS)
    forget_lease(gold)
    build("b", BRONZE)
    skip(Task("b", SPARK))
    forget_lease(gold)
    assert audit("a")["batch"] == 3


@pytest.mark.parametrize("is_reported", [True, False], ids=["it failed", "its process was killed"])
def test_run_does_not_publish_what_another_one_captured_and_did_not_test(
    gold: Query, lake: SqlCatalog, is_reported: bool
) -> None:
    """Run b failed while it captured. Run a, cleared from silver on, built its entities from the rows of run b, too."""
    build("a", BRONZE)
    forget_lease(gold)
    fail(Task("b", BRONZE), is_reported)
    forget_lease(gold)
    build("a", *MODELS, try_number=2)
    with pytest.raises(AirflowFailException, match=r"bronze\.readings of run b did not succeed"):
        audit("a")
    build("a", BRONZE, *MODELS, try_number=3)
    assert audit("a")["batch"] == 3


def test_failed_capture_of_a_removed_table_keeps_no_run_from_publishing(
    gold: Query, lake: SqlCatalog
) -> None:
    fail(Task("a", "bronze.removed", dag=dag_of(HOURLY.dag_id, ("bronze.removed",))))
    forget_lease(gold)
    build("b", BRONZE, *MODELS)
    assert audit("b")["batch"] == 2


@pytest.mark.parametrize(("again", "refused"), [(SPARK, True), (TEST, False)])
def test_task_that_was_cleared_without_its_downstream_tasks_is_named(
    gold: Query, lake: SqlCatalog, again: str, refused: bool
) -> None:
    build("a", SPARK, TEST, MART, *GOLD)
    build("a", again, try_number=2)
    if refused:
        with pytest.raises(AirflowFailException, match=f"{again} wrote after {GOLD[0]} had read its table"):
            audit()
    else:
        assert audit()["batch"] == 1


def test_table_that_was_built_again_is_tested_again_before_it_is_published(
    gold: Query, lake: SqlCatalog
) -> None:
    build("a", SPARK, TEST, MART, MARTS_TEST, *GOLD)
    build("a", MART, *GOLD, try_number=2)
    with pytest.raises(AirflowFailException, match=f"{MART} wrote after {MARTS_TEST} had read its table"):
        audit()
    build("a", MARTS_TEST, try_number=2)
    assert audit()["batch"] == 1


@pytest.mark.parametrize("is_reported", [True, False], ids=["it failed", "its process was killed"])
def test_model_that_failed_and_was_marked_as_done_is_not_published_around(
    gold: Query, lake: SqlCatalog, is_reported: bool
) -> None:
    build("a", SPARK, MART, GOLD[0], GOLD[2])
    fail(Task("a", GOLD[1]), is_reported)
    with pytest.raises(
        AirflowFailException, match=f"{GOLD[1]} was not built from the rows that this run read"
    ):
        audit()
    build("a", GOLD[1], try_number=2)
    assert audit()["batch"] == 1


def test_models_that_a_run_left_out_are_built_before_it_publishes(gold: Query, lake: SqlCatalog) -> None:
    build("a", SPARK, MART)
    with pytest.raises(AirflowFailException, match=f"{GOLD[0]} .*`up_to`. Clear it"):
        audit()


def test_cleared_run_without_new_rows_needs_none_of_its_models(gold: Query, lake: SqlCatalog) -> None:
    build("a", SPARK, MART, GOLD[0])
    fail(Task("a", GOLD[1]))
    forget_lease(gold)
    build("b", *MODELS)
    gold("update audit.pipeline set published_batch = 2")
    forget_lease(gold)
    skip(Task("a", SPARK, try_number=2))
    assert audit()["batch"] == 3
