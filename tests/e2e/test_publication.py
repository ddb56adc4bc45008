"""What is published, and when: after every test passed, whole, and as it was before where that is asked for."""

import re
from dataclasses import dataclass

import pytest

from oracle import GOLD
from stack.airflow_api import AirflowApi
from stack.errors import StackError
from stack.pipeline import DAG

from .conftest import Stack


@dataclass(frozen=True)
class Spoiled:
    """A row that no run writes, by which the test of a task fails, and what the task's log shows of it."""

    task: str
    spoil: str
    mend: str
    test: str
    shown: str = "spoiled"
    again: str = ""  # what is cleared after the mend, by the beginning of its name; else the task alone


SPOILED = (
    Spoiled(
        "bronze.sellers",
        "insert into bronze.sellers (seller_id, updated_at, _op, _hash, _extracted_at, _batch)"
        # The batch of the run to come: no row is of a later one.
        " select 'spoiled', updated_at, 'nonsense', _hash, _extracted_at, last_batch + 1"
        " from bronze.sellers cross join postgres_gold.audit.pipeline limit 1",
        "delete from bronze.sellers where _op = 'nonsense'",
        "valid_rows_sellers",
    ),
    Spoiled(
        "silver_staging.test",
        # A burst changes customers, and the tables that the job makes are tested; this row it leaves alone.
        "insert into silver.stg_customers (customer_id, _raw_key, _state, _batch)"
        " values ('spoiled', '[spoiled]', 'no state', 1000000)",
        "delete from silver.stg_customers where _state = 'no state'",
        "valid_rows_stg_customers",
    ),
    Spoiled(
        "silver_marts.dim_sellers",
        "insert into silver.dim_sellers (seller_id, seller_state, _batch) values ('spoiled too', 'XX', 1000000)",
        "delete from silver.dim_sellers where seller_state = 'XX'",
        "accepted_values_dim_sellers_seller_state",
    ),
    Spoiled(
        "gold.sales_by_day",
        # Of a batch long published: the tests of silver leave it out, but not the day that the burst changes.
        "insert into silver.fact_sales (order_id, order_item_id, order_status, order_purchase_timestamp, price,"
        " freight_value, payment_value, _batch)"
        " select 'spoiled', 1, 'created', max(order_purchase_timestamp), -987654321, 0, 0, 0 from silver.fact_sales",
        "delete from silver.fact_sales where order_id = 'spoiled'",
        "valid_rows_sales_by_day",
        shown="| item_revenue < 0 |",
        again="gold.",  # the other tables have taken the row in, too
    ),
)


def test_failing_test_of_any_layer_holds_back_the_publication(stack: Stack, first_run: str) -> None:
    before = stack.published(*GOLD, "publication")
    stack.sample("live")
    for each in SPOILED:
        stack.lake(each.spoil)
    with AirflowApi(stack.settings) as airflow:
        run = airflow.trigger(DAG, {})
        airflow.unpause(DAG)
        tasks = [task["task_id"] for task in airflow.call("GET", f"/api/v2/dags/{DAG}/tasks")["tasks"]]
        for each in SPOILED:
            with pytest.raises(StackError, match=rf"Task {re.escape(each.task)} failed: (.|\n)*{each.test}"):
                airflow.follow(DAG, run)
            assert each.shown in log_of(stack, run, each.task)
            assert any(name.startswith(each.test) for name in failed_tests(stack, run, each.task))
            assert stack.published(*GOLD, "publication") == before
            stack.lake(each.mend)
            airflow.call(
                "POST",
                f"/api/v2/dags/{DAG}/clearTaskInstances",
                {
                    "dry_run": False,
                    "dag_run_id": run,
                    "task_ids": [task for task in tasks if task.startswith(each.again or each.task)],
                    "include_downstream": True,
                    "only_failed": False,
                    "reset_dag_runs": True,
                },
            )
        airflow.follow(DAG, run)
    assert [row[0] for row in stack.gold("select run_id from gold.publication")] == [run]
    assert stack.differences() == {}


def failed_tests(stack: Stack, run: str, task: str) -> list[str]:
    """The tests that a task's last try found rows by, as the audit has them."""
    rows = stack.audit(
        "select test_name from audit.test_results where status = ''fail''"
        f" and run_id = ''{run}'' and task_id = ''{task}'' and try_number = (select max(try_number)"
        f" from audit.data_pipeline_runs where run_id = ''{run}'' and task_id = ''{task}'')"
    )
    return [name for (name,) in rows]


def log_of(stack: Stack, run: str, task: str) -> str:
    """What the task's last try logged."""
    folder = stack.settings.home / "log" / "airflow" / f"dag_id={DAG}" / f"run_id={run}" / f"task_id={task}"
    return max(folder.iterdir(), key=lambda path: path.stat().st_mtime).read_text()


def test_gold_is_shown_as_an_earlier_publication_has_it(stack: Stack, first_run: str) -> None:
    [(batch, snapshot)] = stack.audit(
        "select batch, snapshots ->> ''gold.sales_by_day'' from audit.publications order by batch limit 1"
    )
    version = f"gold.sales_by_day for version as of {snapshot}"
    [(day,)] = stack.lake(f"select min(day) from {version}")
    said = stack.run("as-of", str(batch), "sales_by_day")
    assert str(day) in said and version in said
    assert "No publication by batch 999999" in stack.run("as-of", "999999", "sales_by_day", status=1)


@pytest.mark.long
def test_gold_goes_back_to_an_earlier_publication_and_on_again(stack: Stack, first_run: str) -> None:
    seen = (*GOLD, "publication")
    earlier = stack.published(*seen)
    [batch] = [row[1] for row in earlier["publication"]]
    stack.sample("live")
    stack.run("trigger")
    later = stack.published(*seen)
    assert later["sales_by_day"] != earlier["sales_by_day"]

    assert "There is no publication by batch 999999" in stack.run("rollback", "999999", status=1)
    stack.run("rollback", str(batch))
    assert stack.published(*seen) == earlier
    stack.sample("live")
    assert re.search(r"skipped +[0-9.]+ s +publish", stack.run("trigger"))
    assert stack.published(*seen) == earlier

    stack.run("resume")
    stack.run("trigger")
    assert stack.differences() == {}
