"""The schema of the store on a real PostgreSQL: created, upgraded in place, and left unchanged."""

import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from psycopg import ClientCursor

from medallion.engines.postgres import transaction
from medallion.names import Group, Place, Role, place_of
from medallion.run import lease
from medallion.run.history import load_history
from medallion.run.state import claim_run
from medallion.store.migrations import latest_version, read_version, upgrade_store
from medallion.store.pipeline import Run, read_pipeline
from support.postgres import Server
from support.task_instance import Task

from ..conftest import Query, connection, create_staging, publish, record_success

VERSION_0_1_0 = Path(__file__).with_name("version_0_1_0.sql")
# Id of a task in version 0.1.0 -> its id in later versions. All other ids are unchanged.
RENAMED = {
    "entities.spark": "silver_staging.spark",
    "entities.test": "silver_staging.test",
    "silver.fact_readings": "silver_marts.fact_readings",
}
TABLES = (
    "audit.pipeline", "audit.lease_queue", "audit.runs", "audit.data_pipeline_runs", "audit.test_results",
    "audit.entity_accounts", "audit.reconciliations", "audit.snapshots", "audit.publications", "gold.publication",
    "gold.readings_by_day",
)  # fmt: skip


def read_tables(gold: Query) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of every table, ordered by their text."""
    return {
        table: [row for (row,) in gold(f"select to_jsonb(t) from {table} as t order by t::text")]
        for table in TABLES
    }


@pytest.fixture
def old(empty_gold: Query) -> Query:
    """Create a database of version 0.1.0 with rows in every table."""
    empty_gold(VERSION_0_1_0.read_text())
    return empty_gold


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect the statements that are sent."""
    sent: list[Any] = []
    execute = ClientCursor.execute

    def record(self: Any, statement: Any, *arguments: Any, **options: Any) -> Any:
        sent.append(statement)
        return execute(self, statement, *arguments, **options)

    monkeypatch.setattr(ClientCursor, "execute", record)
    return sent


def test_empty_database_gets_the_newest_version(empty_gold: Query) -> None:
    assert read_version()[0] == ""
    upgrade_store()
    assert read_version()[0] == latest_version()
    assert empty_gold("select count(*) from audit.pipeline") == [(1,)]
    with transaction() as cursor:
        pipeline = read_pipeline(cursor)
    assert (pipeline.published_batch, pipeline.last_batch, pipeline.holder) == (0, 0, None)
    assert claim_nothing_left(Task("a")).batch == 1


def claim_nothing_left(ti: Task) -> Any:
    """Claim a run without looking for leftovers, because no engine runs here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease, "end_all_leftovers", lambda: None)
        patch.setattr(lease.wait_for_open_attempts.retry, "stop", lambda state: True)
        return claim_run(ti)


def test_old_database_is_upgraded_without_losing_a_row(old: Query) -> None:
    before = read_tables(old)
    assert all(before.values())
    upgrade_store()
    assert read_version()[0] == latest_version()
    # Compare without the columns that later versions added.
    after = {
        table: [{name: row[name] for name in before[table][0]} for row in rows]
        for table, rows in read_tables(old).items()
    }
    for table in ("audit.data_pipeline_runs", "audit.test_results"):
        for row in before[table]:
            row["task_id"] = RENAMED.get(row["task_id"], row["task_id"])
        before[table], after[table] = (
            sorted(rows, key=lambda row: [str(row[name]) for name in sorted(row)])
            for rows in (before[table], after[table])
        )
    assert after == before


def test_old_attempts_get_the_layer_and_role_of_their_task(old: Query) -> None:
    upgrade_store()
    rows = old("select distinct task_id, layer, role from audit.data_pipeline_runs")
    assert {task: Place(Group(layer) if layer else None, Role(role)) for task, layer, role in rows} == {
        task: place_of(task) for task, _, _ in rows
    }
    assert {role for _, _, role in rows} == {*Role}
    assert {layer for _, layer, _ in rows} == {"bronze", "silver_staging", "silver_marts", "gold", None}


def test_run_of_the_old_version_goes_on_under_its_batch(old: Query) -> None:
    upgrade_store()
    state = claim_nothing_left(Task("second", "silver_staging.spark", try_number=3))
    assert (state.batch, state.published_batch, state.publication) == (5, 4, 4)
    assert (state.snapshots, state.rebuild) == ({"bronze.readings": 41, "gold.readings_by_day": 42}, "gold")
    assert (state.extract_from, state.extract_to) == (
        "2018-01-01 09:45:00.000000",
        "2018-01-01 11:00:00.000000",
    )
    with transaction() as cursor:
        history = load_history(cursor, Task("second", "publish"))
    assert {task: attempt.status for task, attempt in history.attempts.items()} == {
        "bronze.readings": "success",
        "silver_staging.spark": "running",
    }
    assert old("select status from audit.data_pipeline_runs where run_id = 'second' and try_number = 2") == [
        ("killed",)
    ]


def test_next_run_publishes_on_top_of_the_old_publication(old: Query) -> None:
    upgrade_store()
    old("update audit.pipeline set rebuild = 'none'")
    run = Task("fifth")
    state = claim_nothing_left(run)
    assert (state.batch, state.base_snapshots["gold.readings_by_day"]) == (6, 42)
    old(
        "insert into audit.runs (dag_id, run_id, kind, window_start, window_end) values"
        " ('medallion_hourly', 'fifth', 'scheduled', '2018-01-01 10:00+00', '2018-01-01 11:00+00')"
    )
    types = {
        "devices_by_site": {"site": "text", "devices": "bigint"},
        "readings_by_day": {"day": "date", "readings": "bigint", "total": "numeric(18, 2)"},
        "readings_by_device_month": {
            "device_id": "text", "month": "date", "readings": "bigint", "average": "double precision",
            "last_read_at": "timestamp",
        },
    }  # fmt: skip
    for table, columns in types.items():
        create_staging(old, f"{table}_6_1", columns)
    old("insert into staging.readings_by_day_6_1 values ('2018-01-01', 9, 30, false)")
    record_success(*(Task("fifth", task) for task in run.dag.task_ids if "." in task))
    audited: Any = {
        "batch": 6,
        "staging": "6_1",
        "snapshots": {"gold.readings_by_day": 62},
        "columns": {},
        "base_batch": state.published_batch,
        "base_publication": state.publication,
        "base_snapshots": {"gold.readings_by_day": 42},
    }
    publish(Task("fifth", "publish"), audited)
    assert old("select day::text, readings from gold.readings_by_day order by day") == [
        ("2017-12-31", 5),
        ("2018-01-01", 9),
    ]
    assert old("select published_batch, watermark from audit.pipeline") == [
        (6, datetime(2018, 1, 1, 11, tzinfo=UTC))
    ]
    assert old("select batch from audit.publications order by batch") == [(2,), (4,), (6,)]


def test_runs_of_the_old_version_keep_their_place_in_the_queue(old: Query) -> None:
    upgrade_store()
    with transaction() as cursor:
        assert read_pipeline(cursor).holder == Run("medallion_hourly", "second")
    assert old("select run_id from audit.lease_queue order by place") == [("third",), ("fourth",)]


@pytest.mark.parametrize("version", ["none", "0.1.0"])
def test_two_runs_may_upgrade_at_once(empty_gold: Query, version: str) -> None:
    if version == "0.1.0":
        empty_gold(VERSION_0_1_0.read_text())
    begin = Barrier(2)

    def upgrade(_: int) -> None:
        begin.wait(timeout=30)
        upgrade_store()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(upgrade, range(2)))
    assert empty_gold("select version_num from audit.schema_version") == [(latest_version(),)]
    assert empty_gold("select count(*) from audit.pipeline") == [(1,)]


def test_newest_version_costs_two_questions_and_no_import(
    gold: Query, statements: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "alembic", None)  # makes an import fail
    before = gold("select xmin::text from audit.schema_version")
    upgrade_store()
    limits, *questions = statements
    assert "set_config" in limits and len(questions) == 2
    assert gold("select xmin::text from audit.schema_version") == before


def test_newer_version_is_left_unchanged(gold: Query) -> None:
    gold("update audit.schema_version set version_num = '9999'")
    upgrade_store()
    assert read_version()[0] == "9999"


def test_failed_migration_changes_nothing(old: Query) -> None:
    # The migration fails, because it adds a column that is there already.
    old("alter table audit.data_pipeline_runs add column role integer")
    before = read_tables(old)
    with pytest.raises(Exception, match=r'column "role" .* already exists'):
        upgrade_store()
    assert read_version()[0] == ""
    assert read_tables(old) == before
    old("alter table audit.data_pipeline_runs drop column role")
    upgrade_store()
    assert read_version()[0] == latest_version()


def test_schemas_that_exist_need_no_right_to_create_any(
    postgres: Server, empty_gold: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_gold("create role owner login")
    for schema in ("audit", "staging", "gold"):
        empty_gold(f"create schema {schema} authorization owner")
    monkeypatch.setenv("AIRFLOW_CONN_MEDALLION_GOLD", connection(postgres, "empty_gold", login="owner"))
    try:
        upgrade_store()
        assert read_version()[0] == latest_version()
        assert empty_gold("select tableowner from pg_tables where tablename = 'pipeline'") == [("owner",)]
    finally:
        empty_gold("drop owned by owner; drop role owner")


@pytest.mark.parametrize(
    "dropped", ["schema gold cascade", "schema staging cascade", "table gold.publication"]
)
def test_gold_that_was_dropped_is_created_again(gold: Query, dropped: str) -> None:
    gold(f"drop {dropped}")
    upgrade_store()
    assert gold("select count(*) from gold.publication") == [(0,)]
    assert gold("select to_regnamespace('staging') is not null") == [(True,)]
    assert read_version() == (latest_version(), True)


def test_attempt_of_the_old_version_that_opens_after_the_upgrade_is_recorded(gold: Query) -> None:
    gold(
        "insert into audit.data_pipeline_runs"
        " (dag_id, run_id, task_id, try_number, model_name, start_time, status, batch)"
        " values ('medallion_hourly', 'a', 'gold.x', 1, 'x', now(), 'running', 1)"
    )
    assert gold("select role, layer from audit.data_pipeline_runs") == [("build", None)]
