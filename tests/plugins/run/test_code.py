"""The code of a run: its first task records it, and compares it with the code that built the tables of the lake.

The other tasks of the run compare the code that they see with the recorded one.
"""

import json
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowFailException
from pyiceberg.catalog.sql import SqlCatalog

from medallion.project import fingerprint
from medallion.project.fingerprint import table_fingerprints
from medallion.publish.consistency import check_consistency
from medallion.run import code
from medallion.run.attempts import AttemptListener
from medallion.run.code import CodeChangedError, RebuildError, begin_with_code
from medallion.run.lease import hold_lease
from medallion.run.state import claim_run
from medallion.settings import settings
from medallion.tasks.hooks import finish
from support.task_instance import HOURLY, ROLLBACK, Task

from ..conftest import Query, Stage, publish, record_present_code, record_success, restore

BUILDERS = [Task("a", task) for task in HOURLY.task_ids if task.startswith(("bronze.", "silver", "gold"))]
DAY, FACTS, READINGS = "gold.readings_by_day", "silver.fact_readings", "silver.stg_readings"


def begin(gold: Query, run: str = "a", builds: bool = True, accepted: bool = False) -> list[str]:
    """Begin a run as its first task does."""
    ti = Task(run)
    hold_lease(ti)
    gold("insert into audit.runs (dag_id, run_id, kind) values ('medallion_hourly', %s, 'ranged')"
         " on conflict do nothing", (run,))  # fmt: skip
    return begin_with_code(ti, builds, accepted)


def made_by_other_code(gold: Query, *tables: str) -> None:
    """Record that the last publication has all tables, and that other code made the given ones."""
    record_present_code(gold)
    gold(
        "update audit.pipeline set published_snapshots = %s",
        (json.dumps(dict.fromkeys(table_fingerprints(), 1)),),
    )
    for table in tables:
        gold("update audit.pipeline set fingerprints = fingerprints || %s", (json.dumps({table: "other"}),))


def deploy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the files of the project have other content from now on."""
    monkeypatch.setattr(fingerprint, "spark_code", lambda: "other")


@pytest.fixture
def bronze(catalog: SqlCatalog) -> SqlCatalog:
    """A lake with 300 rows of readings and 20 of devices."""
    for name, rows in (("readings", 300), ("devices", 20)):
        data = pa.table({"n": pa.array(range(rows))})
        catalog.create_table(f"bronze.{name}", data.schema).append(data)
    return catalog


def set_limit(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setenv("MEDALLION_REBUILD_ROWS", str(rows))
    settings.cache_clear()


def test_same_code_requests_nothing(gold: Query) -> None:
    made_by_other_code(gold)
    before = gold("select outdated, rebuild_batch from audit.pipeline")
    assert begin(gold) == []
    assert gold("select outdated, rebuild_batch from audit.pipeline") == before == [([], 0)]
    [(fingerprints,)] = gold("select fingerprints from audit.runs where code is not null")
    assert fingerprints == table_fingerprints()


def test_before_the_first_publication_everything_is_rebuilt_whatever_its_size(
    gold: Query, bronze: SqlCatalog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An earlier run that failed may have written tables with other code."""
    set_limit(monkeypatch, 0)
    assert begin(gold) == sorted(table_fingerprints())
    # The log of a first run does not mention other code.
    assert "are not published yet: silver." in caplog.text and "other code" not in caplog.text


def test_code_of_an_earlier_version_is_unknown_and_everything_is_rebuilt(
    gold: Query, bronze: SqlCatalog
) -> None:
    made_by_other_code(gold)
    gold("update audit.pipeline set fingerprints = '{}'")
    assert begin(gold) == sorted(table_fingerprints())


def test_tables_of_other_code_are_compared_whole_until_they_are_published(
    gold: Query, bronze: SqlCatalog
) -> None:
    made_by_other_code(gold, DAY)
    assert begin(gold) == [DAY]
    state = claim_run(Task("a", "gold.readings_by_day"))
    assert (state.outdated, state.rebuild, state.compare_whole) == ([DAY], "none", "none")
    assert DAY in state.snapshots and DAY not in state.base_snapshots and FACTS in state.base_snapshots
    # The run fails, and the earlier code is deployed again. The run may already have written rows with the later code.
    record_present_code(gold)
    assert begin(gold, "b") == []
    assert claim_run(Task("b", "gold.readings_by_day")).outdated == [DAY]


def test_reconciliation_rebuilds_nothing(gold: Query) -> None:
    made_by_other_code(gold, DAY)
    assert begin(gold, builds=False) == []
    assert gold("select outdated, rebuild_batch from audit.pipeline") == [([], 0)]


@pytest.mark.parametrize(
    ("tables", "rows", "message"),
    [
        ((DAY,), 299, rf"rows of {DAY}\. .* 300 rows .*\(299\).*`make rebuild LAYER=gold`.*`rebuild` = gold"),
        ((FACTS, DAY), 299, rf"rows of {FACTS}, and 1 tables built from them.*`make rebuild` .*`rebuild` = silver"),
        (("silver.stg_devices",), 19, r"silver\.stg_devices\. .* 20 rows"),
        ((DAY,), 300, None),
        (("silver.stg_devices",), 20, None),
    ],
)  # fmt: skip
def test_rebuild_above_the_limit_is_refused_by_name_and_requests_nothing(
    gold: Query,
    bronze: SqlCatalog,
    monkeypatch: pytest.MonkeyPatch,
    tables: tuple[str, ...],
    rows: int,
    message: str | None,
) -> None:
    made_by_other_code(gold, *tables)
    set_limit(monkeypatch, rows)
    if not message:
        assert begin(gold) == sorted(tables)
        return
    with pytest.raises(RebuildError, match=message):
        begin(gold)
    assert gold("select outdated from audit.pipeline") == [([],)]
    assert gold("select code from audit.runs") == [(None,)]
    # A run that accepts the rebuild gets the same tables, and so does every later run until one has published.
    assert begin(gold, "by hand", accepted=True) == sorted(tables)
    assert begin(gold, "next") == sorted(tables)


def test_new_model_is_built_whatever_its_size(
    gold: Query, bronze: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by_other_code(gold, DAY)
    gold("update audit.pipeline set published_snapshots = published_snapshots - %s", (DAY,))
    set_limit(monkeypatch, 0)
    assert begin(gold) == [DAY]


def test_task_that_sees_other_code_than_its_run_fails_before_it_writes(
    gold: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(gold)
    assert claim_run(Task("a", "gold.readings_by_day"))
    deploy(monkeypatch)
    with pytest.raises(CodeChangedError, match="Clear the run from `begin`"):
        claim_run(Task("a", "gold.readings_by_day"))
    begin(gold)
    assert claim_run(Task("a", "gold.readings_by_day"))


def test_builder_that_read_the_files_too_late_fails(gold: Query, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(gold)
    builder, publisher = Task("a", "gold.readings_by_day"), Task("a", "publish")
    for ti in (builder, publisher):
        AttemptListener().on_task_instance_running(None, ti)
    deploy(monkeypatch)
    with pytest.raises(CodeChangedError):
        finish({"ti": builder})
    finish({"ti": publisher})  # the publication is done, so its task must not fail
    assert gold("select task_id from audit.data_pipeline_runs where status = 'success'") == [("publish",)]


def test_run_of_an_earlier_version_goes_on(gold: Query, monkeypatch: pytest.MonkeyPatch) -> None:
    gold("insert into audit.runs (dag_id, run_id, kind) values ('medallion_hourly', 'a', 'ranged')")
    deploy(monkeypatch)
    assert claim_run(Task("a", "gold.readings_by_day"))


def test_run_whose_begin_alone_was_cleared_after_a_deployment_is_refused(
    gold: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(gold)
    run = [
        Task("a", task) for task in Task("a").dag.task_ids if task.startswith(("bronze.", "silver", "gold"))
    ]
    record_success(*run)
    check_consistency(Task("a", "audit"), claim_run(Task("a", "audit")))
    begin(gold)  # the run is cleared, with the same code
    check_consistency(Task("a", "audit"), claim_run(Task("a", "audit")))
    deploy(monkeypatch)
    begin(gold)
    with pytest.raises(AirflowFailException, match="clear the run from `begin`"):
        check_consistency(Task("a", "audit"), claim_run(Task("a", "audit")))


def test_run_goes_on_after_a_fix_from_the_model_that_was_fixed(
    gold: Query, bronze: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by_other_code(gold)
    begin(gold)
    record_success(*BUILDERS)
    fixed = table_fingerprints() | {DAY: "fixed"}
    monkeypatch.setattr(code, "table_fingerprints", lambda: fixed)
    deploy(monkeypatch)
    begin(gold)
    with pytest.raises(AirflowFailException, match=r"gold\.readings_by_day ran with other code"):
        check_consistency(Task("a", "audit"), claim_run(Task("a", "audit")))
    record_success(Task("a", "gold.readings_by_day", try_number=2))
    check_consistency(Task("a", "audit"), claim_run(Task("a", "audit")))


def test_run_that_others_have_overtaken_with_other_code_is_refused(gold: Query, bronze: SqlCatalog) -> None:
    """The run's own code has not changed, but runs with other code have written to the lake meanwhile."""
    made_by_other_code(gold)
    begin(gold)
    record_success(*BUILDERS)
    made_by_other_code(gold, READINGS)
    begin(gold)
    with pytest.raises(AirflowFailException, match=r"silver_staging\.spark ran with other code"):
        check_consistency(Task("a", "audit"), claim_run(Task("a", "audit")))


def published(gold: Query) -> list[tuple[Any, ...]]:
    return gold("select outdated, fingerprints = %s from audit.pipeline", (json.dumps(table_fingerprints()),))


def test_publication_records_the_code_that_its_run_began_with(
    gold: Query, stage: Stage, bronze: SqlCatalog
) -> None:
    made_by_other_code(gold, DAY)
    audited: Any = stage("a") | {"base_snapshots": {}}
    begin(gold)
    publish(Task("a", "publish"), audited)
    assert published(gold) == [([], True)]
    assert gold("select fingerprints = %s from audit.publications", (json.dumps(table_fingerprints()),)) == [
        (True,)
    ]


def test_publication_of_rows_read_before_the_request_leaves_it(
    gold: Query, stage: Stage, bronze: SqlCatalog
) -> None:
    made_by_other_code(gold, DAY)
    audited: Any = stage("a") | {"base_snapshots": {}}
    gold("update audit.pipeline set lease_batch = 7")
    begin(gold)
    publish(Task("a", "publish"), audited)
    assert published(gold) == [([DAY], False)]


def test_rollback_leaves_the_code_of_the_lake(gold: Query, stage: Stage) -> None:
    """A rollback does not change the lake, so its tables are still recorded as built by the later code."""
    made_by_other_code(gold)
    audited: Any = stage("a") | {"base_snapshots": {}}
    publish(Task("a", "publish"), audited)
    assert gold("select fingerprints from audit.pipeline") == [({},)]
    record_present_code(gold)
    back = Task("back", "restore", dag=ROLLBACK)
    hold_lease(back)
    chosen: Any = {
        "staging": "2_1", "columns": {}, "base_snapshots": {}, "base_batch": 0, "to_batch": 1,
        "snapshots": {}, "published_batch": 1, "published_snapshots": {},
    }  # fmt: skip
    for table in ("readings_by_day", "readings_by_device_month", "devices_by_site"):
        gold(f"create table staging.{table}_2_1 (like gold.{table}, _deleted boolean)")
    restore(back, chosen)
    assert gold("select fingerprints = %s from audit.pipeline", (json.dumps(table_fingerprints()),)) == [
        (True,)
    ]
