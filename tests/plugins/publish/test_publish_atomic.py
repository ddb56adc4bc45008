"""While runs publish and are killed, a reader sees every table complete, and all tables from the same run."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from support.postgres import Server
from support.task_instance import Task
from support.waiting import wait_until

from ..conftest import Query, Stage, publish

PUBLICATIONS = 10
READS_A_SECOND = 80
# Table -> key, and the column that has the same figure in all tables of a publication.
TABLES: dict[str, tuple[dict[str, str], str]] = {
    "devices_by_site": ({"site": "north"}, "devices"),
    "readings_by_day": ({"day": "2018-01-01"}, "readings"),
    "readings_by_device_month": ({"device_id": "a", "month": "2018-01-01"}, "readings"),
}
SEEN = " union all ".join(
    f"select '{table}', count(*), sum({figure}) from gold.{table}" for table, (_, figure) in TABLES.items()
)


class Reader(threading.Thread):
    """Reads all tables repeatedly, each time in one transaction; `wrong` collects errors and mixed publications."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url, self.stopped = url, threading.Event()
        self.batches: list[int] = []
        self.began = time.monotonic()
        self.wrong: list[Any] = []

    def run(self) -> None:
        with psycopg.connect(self.url) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            while not self.stopped.wait(1 / READS_A_SECOND):
                try:
                    with connection.transaction():
                        # In one transaction (repeatable read) both statements see the same publication.
                        [(batch,)] = connection.execute("select batch from gold.publication").fetchall()
                        for table, rows, figure in connection.execute(SEEN.encode()).fetchall():
                            if (rows, figure) != (2, 2 * batch):
                                self.wrong.append((batch, table, rows, figure))
                except Exception as error:  # noqa: BLE001, a reader must meet no error at all
                    self.wrong.append(error)
                self.batches.append(batch)


@pytest.fixture
def audited(stage: Stage) -> Callable[[int], Any]:
    """Stage publication number n (from 1). In each table it changes one row, deletes one and adds one."""

    def audited(number: int) -> dict[str, Any]:
        def row(table: str, name: str, figure: int | None) -> dict[str, Any]:
            key, column = TABLES[table]
            # The last column of the key distinguishes the rows.
            *_, last = key
            moved = {last: name if last not in ("month", "day") else f"20{name}-01-01"}
            return {**key, **moved, column: figure, "_deleted": figure is None}

        rows = {
            table: [row(table, "10", number), row(table, str(number + 10), number)]
            + ([row(table, str(number + 9), None)] if number > 1 else [])
            for table in TABLES
        }
        return stage(f"run {number}", **rows)

    return audited


@pytest.fixture
def reader(gold: Query, postgres: Server, audited: Callable[[int], Any]) -> Iterator[Reader]:
    """Publish once, then start a reader."""
    publish(Task("run 1", "publish"), audited(1))
    reader = Reader(postgres.url(database="bi"))
    reader.start()
    yield reader
    reader.stopped.set()
    reader.join()


def finish(reader: Reader, batch: int) -> None:
    """Wait until the reader has seen the batch, and stop it."""
    wait_until(lambda: batch in reader.batches or reader.wrong, 30, every=0.01)
    reader.stopped.set()
    reader.join()
    assert reader.wrong == []
    assert reader.batches == sorted(reader.batches) and reader.batches[-1] == batch


def test_reader_sees_each_publication_whole(
    gold: Query, reader: Reader, audited: Callable[[int], Any]
) -> None:
    for number in range(2, PUBLICATIONS + 2):
        publish(Task(f"run {number}", "publish"), audited(number))
    [(batch,)] = gold("select batch from gold.publication")
    finish(reader, batch)
    assert len(set(reader.batches)) > PUBLICATIONS / 2
    assert len(reader.batches) > PUBLICATIONS
    assert len(reader.batches) > 20 * (time.monotonic() - reader.began)


@pytest.mark.parametrize(
    "step",
    [
        *(f"gold.{table}" for table in TABLES),
        "audit.publications",
        "gold.publication",
    ],
)
def test_reader_sees_nothing_of_a_publication_that_is_killed(
    gold: Query, postgres: Server, reader: Reader, audited: Callable[[int], Any], step: str
) -> None:
    second = audited(2)
    errors: list[BaseException] = []

    def try_to_publish() -> None:
        try:
            publish(Task("run 2", "publish"), second)
        except psycopg.Error as error:
            errors.append(error)

    with psycopg.connect(postgres.url(database="bi")) as holder:
        # This lock lets readers through and blocks the publication.
        holder.execute(f"lock table {step} in exclusive mode".encode())
        publisher = threading.Thread(target=try_to_publish)
        publisher.start()
        waiting = "select pid from pg_stat_activity where datname = 'bi' and wait_event_type = 'Lock'"
        [(pid,), *_] = wait_until(lambda: gold(waiting), 30, every=0.01)
        gold("select pg_terminate_backend(%s)", (pid,))
        publisher.join()
    assert errors
    assert gold("select batch from gold.publication") == [(1,)]
    publish(Task("run 2", "publish"), second)
    finish(reader, 2)
