"""Windows in any order, repeated, overlapping, cut off anywhere: the layers end as a rebuild from bronze makes them."""

import itertools
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import pytest
from airflow.sdk.exceptions import AirflowFailException

from medallion.run.window import RunKind, Window
from oracle.model import MODELS
from sample.shop import TABLES

from ..conftest import Stack
from .pipeline import WarmPipeline
from .stories import OPENING, STORIES, Shop, Story

# What tells of runs, and not of the source.
BOOKKEEPING = ("_batch",)
# What windows cannot see: changed under a time that they had passed, and longer ago than the lookback.
BEHIND_WINDOWS = {"orders": {"restored"}, "order_payments": {"slow", "twice"}}
# By default five that share the stories, by hand fifty that tell all of them; with the runs to a step.
# The five were chosen of 4,000 each: every story has a publication between its steps; among the runs are one of a past
# hour and one of a rebuild that are cut off in bronze, one cut off in silver, a model cleared alone, a range, and
# reconciliations between deletes.
SEQUENCES = [
    *((seed, STORIES[first::5], 0.2) for first, seed in enumerate([3957, 1202, 1471, 1524, 3078])),
    *(pytest.param(seed, STORIES, 0.08, marks=pytest.mark.long) for seed in range(50)),
]
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Asked:
    """What a run was asked for."""

    run_id: str
    kind: RunKind
    window: Window | None
    rebuild: str = "none"


class Sequence:
    """Runs of all kinds while stories go on at the shop, as a seed decides."""

    def __init__(
        self, stack: Stack, pipeline: WarmPipeline, shop: Shop, draw: random.Random, runs_to_steps: float
    ) -> None:
        """Begin with a shop that has no order, and nothing in the lake."""
        self.stack, self.pipeline, self.shop = stack, pipeline, shop
        self.draw, self.runs_to_steps = draw, runs_to_steps
        self.numbers = itertools.count()
        self.made: list[Asked] = []
        self.unfinished: dict[Asked, list[str]] = {}

    def live(self, told: tuple[Story, ...]) -> None:
        """Let the stories come to their end, with runs in between."""
        stories = [story(self.shop) for story in told]
        while stories:
            self.shop.tick()
            story = self.draw.choice(stories)
            if next(story, story) is story:
                stories.remove(story)
            if self.draw.random() < self.runs_to_steps:
                self.shop.tick()
                self.draw.choice([self.whole, self.whole, self.cut_off, self.cleared, self.reconcile])()

    def ask(self) -> Asked:
        """Draw an hour, everything since the watermark, any range of the shop's past, or a rebuild."""
        past = int((self.shop.clock - OPENING) / HOUR)
        first, last = sorted(self.draw.choices(range(past + 1), k=2))
        start, end = OPENING + first * HOUR, min(OPENING + (last + 1) * HOUR, self.shop.clock)
        kind, window = self.draw.choice([
            (RunKind.SCHEDULED, Window(self.shop.clock - HOUR, self.shop.clock)),
            (RunKind.SCHEDULED, Window(self.shop.clock - HOUR, self.shop.clock)),
            (RunKind.BACKFILL, Window(start, min(start + HOUR, self.shop.clock))),
            (RunKind.RANGED, Window(start, end)),
            (RunKind.REBUILD, None),
        ])  # fmt: skip
        rebuild = self.draw.choice(["gold", "silver"]) if kind is RunKind.REBUILD else "none"
        asked = Asked(f"{kind}_{next(self.numbers)}", kind, window, rebuild)
        self.made.append(asked)
        return asked

    def run(self, asked: Asked, tasks: list[str], how: str = "whole") -> None:
        """Do tasks of a run; where publishing refuses what was audited long ago, from the audit on once more.

        Where its models have not read what another run left, it is refused, and left to that one or the next.
        """
        window = asked.window and f"{asked.window.start:%d %H:%M} to {asked.window.end:%d %H:%M}"
        print(
            f"{asked.run_id} {how}, {window}, {asked.rebuild}: {len(tasks)} tasks, {tasks[0]} to {tasks[-1]}"
        )
        while tasks:
            try:
                self.pipeline.run(asked.run_id, asked.kind, asked.window, tasks, asked.rebuild)
            except AirflowFailException as refused:
                print(refused)
                again = "clear its task `audit`" in str(refused)
                assert again or (how == "cleared" and "has not published" in str(refused))
                tasks = self.pipeline.tasks(self.draw)
                tasks = tasks[tasks.index("audit") :] if again else []
            else:
                tasks = []
        if asked.window:
            self.shop.covered = max(self.shop.covered, asked.window.end)

    def whole(self) -> None:
        """Do a run from its beginning to its end."""
        self.run(self.ask(), self.pipeline.tasks(self.draw))

    def cut_off(self) -> None:
        """Do the first tasks of a run."""
        tasks = self.pipeline.tasks(self.draw)
        cut = self.draw.randrange(1, len(tasks))
        asked = self.ask()
        self.unfinished[asked] = tasks[cut:]
        self.run(asked, tasks[:cut], "cut off")

    def cleared(self) -> None:
        """Do what an earlier run was cut off before; or of one that is done all, some last tasks, or one alone."""
        if self.unfinished and self.draw.random() < 0.5:
            asked = self.draw.choice(list(self.unfinished))
            self.run(asked, self.unfinished.pop(asked), "cleared")
        elif done := [each for each in self.made if each.run_id in self.pipeline.audited]:
            tasks = self.pipeline.tasks(self.draw)
            first = self.draw.randrange(len(tasks))
            cleared = self.draw.choice([tasks, tasks[first:], tasks[first : first + 1]])
            self.run(self.draw.choice(done), cleared, "cleared")
        else:
            self.whole()

    def reconcile(self) -> None:
        """Find what no window saw; the next run takes it on."""
        asked = Asked(f"reconcile_{next(self.numbers)}", RunKind.RECONCILE, None)
        self.run(asked, [task for task in self.pipeline.tasks(self.draw) if task.startswith("bronze.")])
        for table, keys in self.missed().items():
            assert keys <= BEHIND_WINDOWS.get(table, set()), f"no window captured {table} {keys}"

    def missed(self) -> dict[str, set[str]]:
        """Return what the last reconciliation found that windows had passed by: table -> the first of the key."""
        found = self.stack.audit(
            "select table_name from audit.reconciliations"
            " where missed > 0 and batch = (select max(batch) from audit.reconciliations)"
        )
        return {
            table: {
                key
                for (key,) in self.stack.lake(
                    f"select {TABLES[table][0]} from reconciled.{table} where _finding = 'missed'"
                )
            }
            for (table,) in found
        }


def state(stack: Stack) -> dict[str, Counter[str]]:
    """Return all that is made of bronze, as row -> how often: silver and gold in the lake, gold in PostgreSQL."""
    lake = stack.lake(
        "select table_schema || '.' || table_name, array_agg(column_name order by column_name)"
        " from information_schema.columns where table_schema in ('silver', 'gold')"
        f" and column_name not in ({', '.join(map(repr, BOOKKEEPING))}) group by 1"
    )
    # One table tells of runs.
    columns_of = {table: columns for table, columns in lake if table != "silver.entity_accounts"}
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(
            stack.lake, [f"select {', '.join(columns)} from {table}" for table, columns in columns_of.items()]
        )
        rows = dict(zip(columns_of, found, strict=True))
    rows |= {f"published {table}": held for table, held in stack.published().items()}
    # A quarantine that never had a row may not be there.
    return {table: Counter(map(repr, held)) for table, held in rows.items() if held}


@pytest.mark.parametrize(("seed", "stories", "runs_to_steps"), SEQUENCES)
def test_any_sequence_of_runs_converges(
    stack: Stack, pipeline: WarmPipeline, seed: int, stories: tuple[Story, ...], runs_to_steps: float
) -> None:
    draw = random.Random(seed)
    pipeline.forget("bronze", "silver", "gold")
    shop = Shop(stack.urls["SOURCE_URL"], draw)
    sequence = Sequence(stack, pipeline, shop, draw, runs_to_steps)
    sequence.live(stories)
    shop.tick()
    sequence.reconcile()
    kind, start = draw.choice([(RunKind.SCHEDULED, shop.clock - HOUR), (RunKind.RANGED, OPENING)])
    sequence.run(Asked("last", kind, Window(start, shop.clock)), pipeline.tasks(draw))

    assert stack.differences(*MODELS) == {}

    converged = state(stack)
    pipeline.forget("silver", "gold")
    pipeline.run("rebuilt", RunKind.REBUILD, rebuild="silver")
    rebuilt = state(stack)
    assert converged.keys() == rebuilt.keys()
    different = {
        table: (sorted(held - rebuilt[table], key=repr), sorted(rebuilt[table] - held, key=repr))
        for table, held in converged.items()
        if held != rebuilt[table]
    }
    assert different == {}
