"""What a task is told of its run and of the publication before it."""

import pytest

from medallion.run_state import run_state
from task_instance import Task

from .conftest import Gold


def published(gold: Gold, by: int, up_to: int) -> None:
    """A publication by batch `by`, whose tasks had read up to the batch `up_to`."""
    snapshots = '{"gold.sales_by_day": 42}'
    gold("update audit.pipeline set published_batch = %s, published_snapshots = %s", (up_to, snapshots))
    gold("insert into gold.publication values ('earlier', %s, null, now())", (by,))


def test_before_the_first_publication_everything_is_compared_whole(gold: Gold) -> None:
    state = run_state(Task("a"))
    assert (state.published_batch, state.publication, state.snapshots) == (0, 0, {})
    assert (state.rebuild, state.compare_whole) == ("none", "silver")


def test_publication_is_told_apart_from_what_it_had_read(gold: Gold) -> None:
    published(gold, by=4, up_to=2)
    state = run_state(Task("a"))
    assert (state.published_batch, state.publication) == (2, 4)
    assert (state.compare_whole, state.base_snapshots) == ("none", {"gold.sales_by_day": 42})


@pytest.mark.parametrize("layer", ["gold", "silver"])
def test_rebuild_asked_for_is_compared_whole_from_its_layer_on(gold: Gold, layer: str) -> None:
    published(gold, by=4, up_to=4)
    gold("update audit.pipeline set rebuild = %s", (layer,))
    state = run_state(Task("a"))
    assert (state.rebuild, state.compare_whole) == (layer, layer)
    # The tables are compared whole; the snapshots are still told, to know which keys rows left.
    assert (state.base_snapshots, state.snapshots) == ({}, {"gold.sales_by_day": 42})
