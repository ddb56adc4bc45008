"""The context that a task gets: the state of its run, and of the last publication."""

import json
import re
from dataclasses import asdict

import pytest

from medallion.run.lease import LeaseHeldError
from medallion.run.state import claim_run, read_state
from medallion.settings import DBT_PROJECT, settings
from support.task_instance import RECONCILE, Task

from ..conftest import Query, forget_lease

RUN_CONTEXT = DBT_PROJECT / "macros" / "medallion" / "run_context.sql"


def record_published(gold: Query, by: int, up_to: int) -> None:
    """Record a publication of batch `by`, whose tasks had read the rows of all batches up to `up_to`."""
    snapshots = '{"gold.readings_by_day": 42}'
    gold("update audit.pipeline set published_batch = %s, published_snapshots = %s", (up_to, snapshots))
    gold("insert into gold.publication values ('earlier', %s, null, now())", (by,))


def test_before_the_first_publication_everything_is_compared_whole(gold: Query) -> None:
    state = claim_run(Task("a"))
    assert (state.published_batch, state.publication, state.snapshots) == (0, 0, {})
    assert (state.rebuild, state.compare_whole) == ("none", "silver")


def test_reading_changes_nothing_and_is_refused_without_the_lease(gold: Query) -> None:
    claimed = claim_run(Task("a", "audit"))
    before = gold("select * from audit.pipeline"), gold("select * from audit.data_pipeline_runs")
    assert read_state(Task("a", "audit", try_number=2)) == claimed
    assert (gold("select * from audit.pipeline"), gold("select * from audit.data_pipeline_runs")) == before
    forget_lease(gold)
    with pytest.raises(LeaseHeldError, match="has lost the lease"):
        read_state(Task("a", "audit"))
    assert gold("select lease_run_id from audit.pipeline") == [(None,)]


def test_context_by_hand_is_that_of_a_first_run_that_tests_all_rows(gold: Query) -> None:
    """The macro `run_context` contains this context, for dbt commands by hand."""
    [by_hand] = re.findall(r"^ *(\{\".*\})$", RUN_CONTEXT.read_text(), re.MULTILINE)
    context = json.loads(by_hand)
    first = asdict(claim_run(Task("a"))) | {"batch": 0, "tested_rows": "all"}
    assert context == {name: first[name] for name in context}


def test_publication_differs_from_the_batch_that_it_had_read(gold: Query) -> None:
    record_published(gold, by=4, up_to=2)
    state = claim_run(Task("a"))
    assert (state.published_batch, state.publication) == (2, 4)
    assert (state.compare_whole, state.base_snapshots) == ("none", {"gold.readings_by_day": 42})


@pytest.mark.parametrize("layer", ["gold", "silver"])
def test_requested_rebuild_is_compared_whole_from_its_layer_on(gold: Query, layer: str) -> None:
    record_published(gold, by=4, up_to=4)
    gold("update audit.pipeline set rebuild = %s", (layer,))
    state = claim_run(Task("a"))
    assert (state.rebuild, state.compare_whole) == (layer, layer)
    # The tables are compared whole. The published snapshots are still needed: they show the keys that rows had before.
    assert (state.base_snapshots, state.snapshots) == ({}, {"gold.readings_by_day": 42})


@pytest.mark.parametrize(
    ("history_start", "start"),
    [(None, "0001-01-01 00:00:00.000000"), ("2018-01-01", "2017-12-31 23:45:00.000000")],
)
def test_reconciliation_takes_what_no_window_reads_again(
    gold: Query, monkeypatch: pytest.MonkeyPatch, history_start: str | None, start: str
) -> None:
    if history_start:
        monkeypatch.setenv("MEDALLION_HISTORY_START", history_start)
        settings.cache_clear()
    gold("insert into audit.runs (dag_id, run_id, kind) values ('medallion_reconcile', 'a', 'reconcile')")
    before = claim_run(Task("a", dag=RECONCILE))
    assert (before.kind, before.extract_from, before.extract_to) == ("reconcile", None, None)
    gold("update audit.pipeline set watermark = '2018-05-01 12:00+00'")
    state = claim_run(Task("a", dag=RECONCILE))
    assert (state.extract_from, state.extract_to) == (start, "2018-05-01 11:45:00.000000")
    assert state.tested_rows == "all"


def test_share_of_deletes_is_the_settings_unless_one_run_may_pass_it(
    gold: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDALLION_MAX_DELETED_SHARE", "0.5")
    monkeypatch.setenv("MEDALLION_MAX_DELETED_FROM", "7")
    settings.cache_clear()
    state = claim_run(Task("a"))
    assert (state.max_deleted_share, state.max_deleted_from, state.tested_rows) == (0.5, 7, "changed")
    assert claim_run(Task("a"), allow_deletes=True).max_deleted_share == 1


def test_context_is_one_line_of_json_with_the_catalogs_of_the_settings(
    gold: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDALLION_LAKE_CATALOG", "warehouse")
    settings.cache_clear()
    state = claim_run(Task("a"))
    assert "\n" not in state.json()
    content = json.loads(state.json())
    assert content == asdict(state)
    assert (content["batch"], content["lake_catalog"], content["gold_catalog"]) == (
        1,
        "warehouse",
        "postgres_gold",
    )
