"""The figures that a command shows after a run, read from DuckDB instead of Trino."""

from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import pytest

from medallion.names import HOURLY_DAG, MAINTENANCE_DAG, RECONCILE_DAG
from stack import pipeline
from stack.errors import StackError
from stack.settings import Settings

RUN = "manual__it's"


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> Iterator[duckdb.DuckDBPyConnection]:
    """Create the audit tables with rows of several runs, and let the commands read them."""
    with duckdb.connect() as database:
        database.execute("attach ':memory:' as postgres_gold; create schema postgres_gold.audit")
        database.execute(
            "create table postgres_gold.audit.data_pipeline_runs as select * from (values"
            " ('medallion_hourly', $run, 'bronze.readings', 'bronze', 7, 5),"
            " ('medallion_hourly', $run, 'bronze.items', 'bronze', 7, 6),"
            " ('medallion_hourly', $run, 'audit', null, 7, null),"
            " ('medallion_hourly', $run, 'silver_staging.spark', 'silver_staging', 7, 11),"
            " ('medallion_hourly', $run, 'gold.by_day', 'gold', 7, 1234),"
            " ('medallion_hourly', $run, 'stage.by_day', null, 7, 99),"
            " ('medallion_hourly', 'other', 'bronze.readings', 'bronze', 6, 100),"
            " ('medallion_reconcile', $run, 'bronze.readings', 'bronze', 8, null)"
            ") as t (dag_id, run_id, task_id, layer, batch, records_processed)",
            {"run": RUN},
        )
        database.execute(
            "create table postgres_gold.audit.entity_accounts as select * from"
            " (values (7, 'readings', 2), (7, 'items', 1), (6, 'readings', 50)) as t (batch, entity, quarantined)"
        )
        database.execute(
            "create table postgres_gold.audit.reconciliations as select * from (values"
            " (8, 'readings', timestamp '2024-01-01', 9, 9, 9, 9, 9, 9, 9),"
            " (8, 'readings', timestamp '2024-01-02', 1, 2, 0, 3, 4, 5, 6),"
            " (5, 'items', timestamp '2024-01-01', 9, 9, 9, 9, 9, 9, 9)"
            ") as t (batch, table_name, compared_at,"
            " missed, deleted, went_back, unmoved, null_cursor, ahead, ambiguous)"
        )

        def on_duckdb(settings: Settings, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
            cursor = database.execute(statement)
            return [column[0] for column in cursor.description], cursor.fetchall()

        monkeypatch.setattr(pipeline, "on_trino", on_duckdb)
        yield database


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], list[Any]]]:
    """Collect the tables that are printed, as (columns, rows)."""
    printed: list[tuple[list[str], list[Any]]] = []
    monkeypatch.setattr(pipeline, "show", lambda title, columns, rows: printed.append((columns, rows)))
    return printed


@pytest.mark.usefixtures("audit")
def test_an_hourly_run_ends_with_rows_per_layer_rejected_rows_and_rows_per_gold_table(
    settings: Settings, tables: list[Any]
) -> None:
    pipeline.show_figures(settings, HOURLY_DAG, RUN)
    assert tables == [
        (
            ["step", "rows"],
            [("bronze", "11"), ("silver_staging", "11"), ("rejected", "3"), ("gold.by_day", "1,234")],
        )
    ]


@pytest.mark.usefixtures("audit")
def test_a_reconciliation_ends_with_the_last_figures_of_each_table(
    settings: Settings, tables: list[Any]
) -> None:
    pipeline.show_figures(settings, RECONCILE_DAG, RUN)
    columns = ["table", "missed", "deleted", "went_back", "unmoved", "null_cursor", "ahead", "ambiguous"]
    assert tables == [(columns, [("readings", "1", "2", "0", "3", "4", "5", "6")])]


@pytest.mark.usefixtures("audit")
def test_a_run_without_figures_says_so(
    settings: Settings, tables: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.show_figures(settings, HOURLY_DAG, "unknown")
    pipeline.show_figures(settings, MAINTENANCE_DAG, RUN)
    assert tables == []
    assert capsys.readouterr().out == "The run has no figures: it stopped before they were counted.\n"


def test_an_engine_that_does_not_answer_fails_no_run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise StackError("Trino is down.")

    monkeypatch.setattr(pipeline, "on_trino", refuse)
    pipeline.show_figures(settings, HOURLY_DAG, RUN)
    assert "The run's figures can't be read. Trino is down." in capsys.readouterr().out


@pytest.mark.parametrize("dag", [HOURLY_DAG, RECONCILE_DAG])
def test_trigger_follows_the_run_and_then_shows_its_figures(
    dag: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    class Airflow:
        url = "http://airflow"

        def __enter__(self) -> "Airflow":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def trigger(self, dag: str, params: dict[str, Any]) -> str:
            return RUN

        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *arguments: calls.append(name)

    monkeypatch.setattr(pipeline, "AirflowApi", lambda settings: Airflow())
    monkeypatch.setattr(
        pipeline, "show_figures", lambda settings, dag, run: calls.append(f"figures of {dag} {run}")
    )
    pipeline.trigger(settings, {}, dag)
    assert calls == ["wait_dag", "unpause", "follow", f"figures of {dag} {RUN}"]
