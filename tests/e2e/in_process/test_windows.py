"""Runs over windows in any order lead to the same tables as a rebuild from bronze.

The windows may overlap, and runs may be repeated or cut off at any task.
"""

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
from .pipeline import InProcessPipeline
from .stories import OPENING, STORIES, Shop, Story

# Columns whose values depend on the runs, so that they differ after a rebuild.
BOOKKEEPING = ("_batch",)
# Table -> keys with changes that windows may miss: the `updated_at` is older than the lookback of any later window.
BEHIND_WINDOWS = {"orders": {"restored"}, "order_payments": {"slow", "twice"}}
# Each sequence has a seed, its stories, and the share of story steps after which a run is done. Each of the three
# default sequences plays a third of the stories; each of the fifty long ones plays all. The three seeds were chosen
# from 2,500 each, so that some run publishes between the steps of every story, and these cases occur: a run of a past
# hour and a rebuild, both cut off in bronze; a run cut off in silver; a single model that is cleared; a run over a
# range; and a reconciliation between deletes.
SEQUENCES = [
    *(
        pytest.param(seed, STORIES[first::3], 0.15, id=f"seed_{seed}")
        for first, seed in enumerate([1743, 1241, 467])
    ),
    *(
        pytest.param(seed, STORIES, 0.08, id=f"all_stories_seed_{seed}", marks=pytest.mark.long)
        for seed in range(50)
    ),
]
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class PlannedRun:
    """The parameters of a run."""

    run_id: str
    kind: RunKind
    window: Window | None
    rebuild: str = "none"


class RunSequence:
    """Runs of all kinds while stories go on at the shop. A seed decides their order.

    run_share: the share of story steps after which a run is done. unfinished: a run that was cut off -> the tasks that
    it has not done.
    """

    def __init__(
        self, stack: Stack, pipeline: InProcessPipeline, shop: Shop, rng: random.Random, run_share: float
    ) -> None:
        """Begin with a shop that has no orders, and an empty lake."""
        self.stack, self.pipeline, self.shop = stack, pipeline, shop
        self.rng, self.run_share = rng, run_share
        self.numbers = itertools.count()
        self.runs: list[PlannedRun] = []
        self.unfinished: dict[PlannedRun, list[str]] = {}

    def play(self, stories: tuple[Story, ...]) -> None:
        """Play the stories to their end, with runs in between."""
        playing = [story(self.shop) for story in stories]
        while playing:
            self.shop.tick()
            story = self.rng.choice(playing)
            if next(story, story) is story:
                playing.remove(story)
            if self.rng.random() < self.run_share:
                self.shop.tick()
                self.rng.choice([self.run_whole, self.run_whole, self.cut_off, self.clear, self.reconcile])()

    def plan_run(self) -> PlannedRun:
        """Plan a random run: over the last hour, over a past hour, over a range of past hours, or a rebuild."""
        past = int((self.shop.clock - OPENING) / HOUR)
        first, last = sorted(self.rng.choices(range(past + 1), k=2))
        start, end = OPENING + first * HOUR, min(OPENING + (last + 1) * HOUR, self.shop.clock)
        kind, window = self.rng.choice([
            (RunKind.SCHEDULED, Window(self.shop.clock - HOUR, self.shop.clock)),
            (RunKind.SCHEDULED, Window(self.shop.clock - HOUR, self.shop.clock)),
            (RunKind.BACKFILL, Window(start, min(start + HOUR, self.shop.clock))),
            (RunKind.RANGED, Window(start, end)),
            (RunKind.REBUILD, None),
        ])  # fmt: skip
        rebuild = self.rng.choice(["gold", "silver"]) if kind is RunKind.REBUILD else "none"
        run = PlannedRun(f"{kind}_{next(self.numbers)}", kind, window, rebuild)
        self.runs.append(run)
        return run

    def do_tasks(self, run: PlannedRun, tasks: list[str], mode: str = "whole") -> None:
        """Do tasks of a run; `mode`: whole, cut off or cleared.

        If `publish` fails because the run's audit is too old, repeat the run from its task `audit`. If it fails for a
        cleared run because the run's models have not read rows of another run, give up: a later run publishes them.
        """
        window = run.window and f"{run.window.start:%d %H:%M} to {run.window.end:%d %H:%M}"
        print(f"{run.run_id} {mode}, {window}, {run.rebuild}: {len(tasks)} tasks, {tasks[0]} to {tasks[-1]}")
        while tasks:
            try:
                self.pipeline.run(run.run_id, run.kind, run.window, tasks, run.rebuild)
            except AirflowFailException as error:
                print(error)
                must_audit = "clear its task `audit`" in str(error)
                assert must_audit or (mode == "cleared" and "has not published" in str(error))
                tasks = self.pipeline.draw_tasks(self.rng)
                tasks = tasks[tasks.index("audit") :] if must_audit else []
            else:
                tasks = []
        if run.window:
            self.shop.covered = max(self.shop.covered, run.window.end)

    def run_whole(self) -> None:
        """Do all tasks of a new run."""
        self.do_tasks(self.plan_run(), self.pipeline.draw_tasks(self.rng))

    def cut_off(self) -> None:
        """Do only the first tasks of a new run."""
        tasks = self.pipeline.draw_tasks(self.rng)
        cut = self.rng.randrange(1, len(tasks))
        run = self.plan_run()
        self.unfinished[run] = tasks[cut:]
        self.do_tasks(run, tasks[:cut], "cut off")

    def clear(self) -> None:
        """Do the remaining tasks of a run that was cut off, or repeat tasks of a finished run.

        The repeated tasks are all tasks, those from a random task on, or a single one.
        """
        if self.unfinished and self.rng.random() < 0.5:
            run = self.rng.choice(list(self.unfinished))
            self.do_tasks(run, self.unfinished.pop(run), "cleared")
        elif audited := [run for run in self.runs if run.run_id in self.pipeline.audits]:
            tasks = self.pipeline.draw_tasks(self.rng)
            first = self.rng.randrange(len(tasks))
            cleared = self.rng.choice([tasks, tasks[first:], tasks[first : first + 1]])
            self.do_tasks(self.rng.choice(audited), cleared, "cleared")
        else:
            self.run_whole()

    def reconcile(self) -> None:
        """Reconcile bronze, and check that it lacked only changes that windows cannot see.

        The next run publishes these changes.
        """
        run = PlannedRun(f"reconcile_{next(self.numbers)}", RunKind.RECONCILE, None)
        bronze = [task for task in self.pipeline.draw_tasks(self.rng) if task.startswith("bronze.")]
        self.do_tasks(run, bronze)
        for table, keys in self.read_missed().items():
            assert keys <= BEHIND_WINDOWS.get(table, set()), f"no window captured {table} {keys}"

    def read_missed(self) -> dict[str, set[str]]:
        """Return the rows that the last reconciliation reported as missed: table -> first column of each key."""
        tables = self.stack.query_audit(
            "select table_name from audit.reconciliations"
            " where missed + unmoved > 0 and batch = (select max(batch) from audit.reconciliations)"
        )
        return {
            table: {
                key
                for (key,) in self.stack.query_trino(
                    f"select {TABLES[table][0]} from reconciled.{table} where _finding in ('missed', 'unmoved')"
                )
            }
            for (table,) in tables
        }


def count_rows(stack: Stack) -> dict[str, Counter[str]]:
    """Count equal rows in all tables that are built from bronze: silver, gold, and gold in PostgreSQL."""
    lake = stack.query_trino(
        "select table_schema || '.' || table_name, array_agg(column_name order by column_name)"
        " from information_schema.columns where table_schema in ('silver', 'gold')"
        f" and column_name not in ({', '.join(map(repr, BOOKKEEPING))}) group by 1"
    )
    # Leave out the accounts, which have rows for each run.
    columns_of = {table: columns for table, columns in lake if table != "silver.entity_accounts"}
    statements = [f"select {', '.join(columns)} from {table}" for table, columns in columns_of.items()]
    with ThreadPoolExecutor(4) as pool:
        tables = dict(zip(columns_of, pool.map(stack.query_trino, statements), strict=True))
    tables |= {f"published {table}": rows for table, rows in stack.read_published().items()}
    # Leave out empty tables, because the table `quarantine` does not exist until it has a row.
    return {table: Counter(map(repr, rows)) for table, rows in tables.items() if rows}


@pytest.mark.parametrize(("seed", "stories", "run_share"), SEQUENCES)
def test_any_sequence_of_runs_converges(
    stack: Stack, pipeline: InProcessPipeline, seed: int, stories: tuple[Story, ...], run_share: float
) -> None:
    rng = random.Random(seed)
    pipeline.forget("bronze", "silver", "gold")
    shop = Shop(stack.urls["SOURCE_URL"], rng)
    sequence = RunSequence(stack, pipeline, shop, rng, run_share)
    sequence.play(stories)
    shop.tick()
    sequence.reconcile()
    kind, start = rng.choice([(RunKind.SCHEDULED, shop.clock - HOUR), (RunKind.RANGED, OPENING)])
    sequence.do_tasks(PlannedRun("last", kind, Window(start, shop.clock)), pipeline.draw_tasks(rng))

    assert stack.find_differences(*MODELS) == {}

    converged = count_rows(stack)
    pipeline.forget("silver", "gold")
    pipeline.run("rebuilt", RunKind.REBUILD, rebuild="silver")
    rebuilt = count_rows(stack)
    assert converged.keys() == rebuilt.keys()
    different = {
        table: (sorted(rows - rebuilt[table], key=repr), sorted(rebuilt[table] - rows, key=repr))
        for table, rows in converged.items()
        if rows != rebuilt[table]
    }
    assert different == {}
