"""Publishing while other sessions hold locks: it succeeds, or its error names these sessions."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from tenacity import stop_after_delay

from medallion.engines.postgres import BlockedError, transaction
from medallion.project.contracts import gold_tables
from medallion.publish import publish as publish_module
from medallion.run.lease import hold_lease
from support.postgres import Server
from support.task_instance import Task

from ..conftest import Query, Stage, create_staging, publish

LEFT = "select count(*) from pg_tables where schemaname = 'staging'"


@pytest.fixture
def bystander(postgres: Server, gold: Query) -> Iterator[psycopg.Connection[Any]]:
    """Open a session of another program, named `dump`. It keeps its locks until a test ends its transaction."""
    with psycopg.connect(postgres.url(database="bi"), application_name="dump") as connection:
        yield connection


@pytest.fixture(autouse=True)
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a blocked publication fail at once instead of trying again."""
    retrying: Any = publish_module.apply_publication
    monkeypatch.setattr(retrying.retry, "stop", stop_after_delay(0))


def test_staging_that_somebody_reads_is_dropped_by_a_later_publication(
    gold: Query, stage: Stage, bystander: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    create_staging(gold, "readings_by_day_0_1", {"day": "date"})
    bystander.execute("select from staging.readings_by_day_0_1")
    publish(Task("a", "publish"), stage("a"))
    assert gold("select batch from gold.publication") == [(1,)]
    assert gold("select tablename from pg_tables where schemaname = 'staging'") == [("readings_by_day_0_1",)]
    assert f"process {bystander.info.backend_pid} of role postgres, dump" in caplog.text
    bystander.rollback()
    publish(Task("b", "publish"), stage("b"))
    assert gold(LEFT) == [(0,)]


def test_more_staging_tables_than_a_transaction_may_lock_are_dropped(gold: Query, stage: Stage) -> None:
    [(locks,)] = gold(
        "select current_setting('max_locks_per_transaction')::int * current_setting('max_connections')::int"
    )
    # Dropping a table takes at least two locks, one for the table and one for its type. Create the tables in several
    # transactions, because creating them takes locks, too.
    count = locks // 2
    for first in range(0, count, 500):
        names = range(first, min(first + 500, count))
        gold("; ".join(f"create table staging.readings_by_day_0_{number} (day date)" for number in names))
    publish(Task("a", "publish"), stage("a"))
    assert gold(LEFT) == [(0,)]


def test_changed_contract_gives_way_to_an_idle_reader_and_names_it(
    gold: Query, stage: Stage, bystander: psycopg.Connection[Any]
) -> None:
    publish(Task("a", "publish"), stage("a"))
    gold("alter table gold.readings_by_day add column of_an_earlier_contract integer")
    bystander.execute("select from gold.readings_by_day")
    audited = stage("b") | {"base_snapshots": {}}
    with pytest.raises(BlockedError, match=rf"process {bystander.info.backend_pid} of role postgres, dump"):
        publish(Task("b", "publish"), audited)
    # Other readers can still read the table.
    assert gold("select count(*) from gold.readings_by_day") == [(0,)]
    assert gold("select batch from gold.publication") == [(1,)]
    bystander.rollback()
    assert set(publish(Task("b", "publish"), audited)) == {table.name for table in gold_tables()}
    assert gold("select batch from gold.publication") == [(2,)]


def test_lock_of_the_pipelines_row_is_named(
    gold: Query, bystander: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_lease(Task("a"))
    bystander.execute("select from audit.pipeline for update")
    # Shorten the lock limit, which is a default argument, so that this test does not wait for half a minute.
    defaults = transaction.__wrapped__.__defaults__
    monkeypatch.setattr(transaction.__wrapped__, "__defaults__", (defaults[0] / 100, defaults[1]))
    with pytest.raises(BlockedError, match=r"process \d+ of role postgres, dump.*pipeline"):
        hold_lease(Task("a", "gold.readings_by_day"))


def test_transactions_have_limits(gold: Query) -> None:
    names = "lock_timeout", "idle_in_transaction_session_timeout"
    with transaction() as cursor:
        values = [cursor.execute(f"show {name}".encode()).fetchone()[0] for name in names]
    assert values == ["30s", "1min"]
