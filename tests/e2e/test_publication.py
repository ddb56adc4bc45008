"""Publication: all gold tables change together, after every test has passed, and a rollback restores earlier ones."""

import re
from dataclasses import dataclass

import pytest

from medallion.names import HOURLY_DAG
from oracle import GOLD
from stack.airflow_api import AirflowApi
from stack.errors import StackError

from .conftest import Stack


@dataclass(frozen=True)
class Fault:
    """A wrong row that no run writes, and that fails a data test.

    task: the task whose test fails. inject, fix: statements that write and remove the row. test: start of the failing
    test's name. logged: a part of the row in the task's log. cleared: start of the names of the tasks to clear after
    the fix; if empty, only the failed task is cleared.
    """

    task: str
    inject: str
    fix: str
    test: str
    logged: str = "spoiled"
    cleared: str = ""


SELLER = "seller_id, seller_zip_code_prefix, seller_city, seller_state, updated_at, _changed_at, _op, _hash"
FAULTS = (
    Fault(
        "silver_staging.test",
        # Insert a second copy of a version. It changes nothing in silver. Its batch is that of the next run, because
        # a row of a later batch would stop that run.
        f"insert into bronze.sellers ({SELLER}, _extracted_at, _batch)"
        f" select {SELLER}, timestamp '2999-01-01 00:00:00 UTC', last_batch + 1"
        " from bronze.sellers cross join postgres_gold.audit.pipeline limit 1",
        "delete from bronze.sellers where _extracted_at > timestamp '2900-01-01 00:00:00 UTC'",
        "bronze_versions",
        logged="_changed_at, _op, _hash is unique",
    ),
    Fault(
        "silver_staging.test",
        # The next run changes customers and therefore tests this table. Its Spark job does not change the injected row.
        "insert into silver.stg_customers (customer_id, _raw_key, _state, _batch)"
        " values ('spoiled', '[spoiled]', 'no state', 1000000)",
        "delete from silver.stg_customers where _state = 'no state'",
        "staging_rows",
        logged="_state is a known state",
    ),
    Fault(
        "silver_marts.test",
        "insert into silver.dim_sellers (seller_id, seller_state, _batch) values ('spoiled too', 'XX', 1000000)",
        "delete from silver.dim_sellers where seller_state = 'XX'",
        "accepted_values_dim_sellers_seller_state",
    ),
    Fault(
        "gold.sales_by_day",
        # The tests of silver check only rows of unpublished batches, so not this row of batch 0. The next run
        # recomputes the row's day in gold, and there a test fails.
        "insert into silver.fact_sales (order_id, order_item_id, order_status, order_purchase_timestamp, price,"
        " freight_value, payment_value, _batch)"
        " select 'spoiled', 1, 'created', max(order_purchase_timestamp), -987654321, 0, 0, 0 from silver.fact_sales",
        "delete from silver.fact_sales where order_id = 'spoiled'",
        "valid_rows_sales_by_day",
        logged="| item_revenue < 0 |",
        cleared="gold.",  # other gold tables may contain the row, too
    ),
)


# Tasks' templates use variables of these names. Whoever triggers a run with such a conf must not be able to set them.
SQL = "x; drop table lake.bronze.orders; --"
HOSTILE_CONF = {
    name: {"name": SQL, "key": [SQL], "contract": {SQL: SQL}, "staging": SQL, "batch": SQL}
    for name in ("table", "audited", "audited_by", "catalogs", "run", "tag", "env", "select")
}


def test_failing_test_in_any_layer_stops_the_publication(stack: Stack, first_run: str) -> None:
    """The run is also triggered with a conf that tries to inject SQL into the tasks' statements."""
    before = stack.read_published(*GOLD, "publication")
    stack.run_sample("live")
    for fault in FAULTS:
        stack.query_trino(fault.inject)
    with AirflowApi(stack.settings) as airflow:
        run = airflow.trigger(HOURLY_DAG, HOSTILE_CONF)
        airflow.unpause(HOURLY_DAG)
        tasks = [task["task_id"] for task in airflow.call("GET", f"/api/v2/dags/{HOURLY_DAG}/tasks")["tasks"]]
        for fault in FAULTS:
            with pytest.raises(
                StackError, match=rf"Task {re.escape(fault.task)} failed: (.|\n)*{fault.test}"
            ):
                airflow.follow(HOURLY_DAG, run)
            assert fault.logged in read_log(stack, run, fault.task)
            assert any(name.startswith(fault.test) for name in read_failed_tests(stack, run, fault.task))
            assert stack.read_published(*GOLD, "publication") == before
            stack.query_trino(fault.fix)
            airflow.call(
                "POST",
                f"/api/v2/dags/{HOURLY_DAG}/clearTaskInstances",
                {
                    "dry_run": False,
                    "dag_run_id": run,
                    "task_ids": [task for task in tasks if task.startswith(fault.cleared or fault.task)],
                    "include_downstream": True,
                    "only_failed": False,
                    "reset_dag_runs": True,
                },
            )
            assert count_hostile_statements(stack) == 0
        airflow.follow(HOURLY_DAG, run)
    assert count_hostile_statements(stack) == 0
    assert [row[0] for row in stack.query_gold("select run_id from gold.publication")] == [run]
    assert stack.find_differences() == {}


def count_hostile_statements(stack: Stack) -> int:
    """Return how many of Trino's latest statements contain the SQL of the conf."""
    [(count,)] = stack.query_trino(
        "select count(*) from system.runtime.queries where regexp_like(query, 'drop table lake.bronze.orders')"
        " and query not like '%runtime.queries%'"
    )
    return int(count)


def read_failed_tests(stack: Stack, run: str, task: str) -> list[str]:
    """Return the names of the tests that failed in a task's last attempt, from `audit.test_results`."""
    rows = stack.query_audit(
        "select test_name from audit.test_results where status = ''fail''"
        f" and run_id = ''{run}'' and task_id = ''{task}'' and try_number = (select max(try_number)"
        f" from audit.data_pipeline_runs where run_id = ''{run}'' and task_id = ''{task}'')"
    )
    return [name for (name,) in rows]


def read_log(stack: Stack, run: str, task: str) -> str:
    """Return the log of a task's last attempt."""
    folder = (
        stack.settings.home / "log" / "airflow" / f"dag_id={HOURLY_DAG}" / f"run_id={run}" / f"task_id={task}"
    )
    return max(folder.iterdir(), key=lambda path: path.stat().st_mtime).read_text()


def test_gold_is_shown_as_of_an_earlier_publication(stack: Stack, first_run: str) -> None:
    [(batch, snapshot)] = stack.query_audit(
        "select batch, snapshots ->> ''gold.sales_by_day'' from audit.publications order by batch limit 1"
    )
    version = f'gold."sales_by_day" for version as of {snapshot}'
    [(day,)] = stack.query_trino(f"select min(day) from {version}")
    output = stack.run("as-of", str(batch), "sales_by_day")
    assert str(day) in output and version in output
    assert "No publication by batch 999999" in stack.run("as-of", "999999", "sales_by_day", status=1)


@pytest.mark.long
def test_gold_goes_back_to_an_earlier_publication_and_on_after_resume(stack: Stack, first_run: str) -> None:
    tables = (*GOLD, "publication")
    earlier = stack.read_published(*tables)
    [batch] = [row[1] for row in earlier["publication"]]
    stack.run_sample("live")
    stack.run("trigger")
    later = stack.read_published(*tables)
    assert later["sales_by_day"] != earlier["sales_by_day"]

    assert "There is no publication by batch 999999" in stack.run("rollback", "999999", status=1)
    stack.run("rollback", str(batch))
    assert stack.read_published(*tables) == earlier
    stack.run_sample("live")
    assert re.search(r"skipped +[0-9.]+ s +publish", stack.run("trigger"))
    assert stack.read_published(*tables) == earlier

    stack.run("resume")
    stack.run("trigger")
    assert stack.find_differences() == {}
