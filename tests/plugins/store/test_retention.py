"""Old records are deleted from the store, unless a run still needs them."""

from datetime import timedelta

import pytest

from medallion.engines.postgres import transaction
from medallion.store.retention import STATEMENTS, delete_old_records

from ..conftest import Query

KEPT, DAY = timedelta(days=90), timedelta(days=1)
# One run a day, each with a batch of its own. Batch 1 is 200 days old, batch 199 is two days old, 200 is not published.
RUNS = """
insert into audit.data_pipeline_runs
    (dag_id, run_id, task_id, try_number, model_name, start_time, end_time, status, batch)
select 'medallion_hourly', batch::text, 'publish', 1, 'publish', at, at, 'success', batch
from generate_series(1, 200) as batch, lateral (select now() - make_interval(days => 201 - batch) as at) as moment;

insert into audit.test_results select dag_id, run_id, task_id, try_number, 'a test', 'pass', 0
from audit.data_pipeline_runs;

insert into audit.runs (dag_id, run_id, kind, resolved_at)
select dag_id, run_id, 'scheduled', start_time from audit.data_pipeline_runs;

insert into audit.publications
select batch, run_id, null, start_time, batch, '{}' from audit.data_pipeline_runs where batch < 200;

insert into audit.snapshots select batch, 'gold.t', 1, start_time, 1 from audit.data_pipeline_runs;

insert into audit.entity_accounts select batch, 'e', 1, 1, 0, 0, 0, 1, 0 from audit.data_pipeline_runs;

insert into audit.reconciliations select batch, 't', start_time, 0, 0, 0 from audit.data_pipeline_runs;

insert into audit.findings (kind, subject, message, found_at, cleared_at)
select 'stale_gold', run_id, '', start_time, start_time from audit.data_pipeline_runs;

update audit.pipeline set published_batch = 199, last_batch = 200;
"""


def count(gold: Query) -> dict[str, int]:
    """Return the number of rows of each table that has a retention."""
    return {table: gold(f"select count(*) from audit.{table}")[0][0] for table in STATEMENTS}


def prune(publication_age: timedelta = DAY) -> dict[str, int]:
    with transaction() as cursor:
        return delete_old_records(cursor, KEPT, publication_age)


def test_old_records_are_deleted_once(gold: Query) -> None:
    gold(RUNS)
    before = count(gold)
    deleted = prune()
    after = count(gold)
    assert {table: before[table] - after[table] for table in STATEMENTS} == deleted
    assert after == dict.fromkeys(STATEMENTS, 89) | {"publications": 88}
    assert set(prune().values()) == {0}


def test_publications_that_gold_may_be_rolled_back_to_stay(gold: Query) -> None:
    gold(RUNS)
    prune(publication_age=timedelta(days=120))
    assert gold("select min(batch) from audit.publications") == gold("select min(batch) from audit.snapshots")
    assert gold("select count(*) from audit.publications") == [(118,)]


@pytest.mark.parametrize("published", [0, 5])
def test_unpublished_batches_and_the_publication_of_bi_stay(gold: Query, published: int) -> None:
    """After months without a publication, or after a roll-back, the next run still needs the attempts since then."""
    gold(RUNS)
    gold(f"update audit.pipeline set published_batch = {published}")
    gold(
        "delete from audit.publications where batch > 5; insert into gold.publication values ('4', 4, null, now())"
    )
    prune()
    assert gold("select min(batch) from audit.data_pipeline_runs") == [(published + 1,)]
    assert gold("select batch from audit.publications order by 1") == [(4,), (5,)]
    assert gold("select min(batch) from audit.snapshots") == [(min(published + 1, 4),)]


def test_run_that_holds_the_lease_keeps_its_window(gold: Query) -> None:
    gold(RUNS)
    gold("update audit.pipeline set lease_dag_id = 'medallion_hourly', lease_run_id = '3', lease_batch = 200")
    prune()
    assert gold("select count(*) from audit.runs where run_id in ('2', '3')") == [(1,)]
