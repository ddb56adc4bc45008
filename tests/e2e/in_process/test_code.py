"""Changes of code between two runs, and during a run. Afterwards the new code has built all rows, as in a rebuild."""

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from medallion.names import Group
from medallion.project import fingerprint, manifest
from medallion.run.code import CodeChangedError, RebuildError
from medallion.run.state import claim_run
from medallion.run.window import RunKind, Window
from medallion.settings import DBT_PROJECT, SPARK_JOBS, settings
from stack.build import PARSE
from support.dbt_runner import Dbt
from support.task_instance import Task

from ..conftest import Stack
from .pipeline import InProcessPipeline, task_graph
from .stories import CUSTOMERS, OPENING, Shop
from .test_windows import count_rows

# File -> an expression in it, and the expression that replaces it.
NEW_RULES = {
    "dbt/models/gold/customer_analytics.sql": ("'one-time'", "'single'"),
    "dbt/models/silver/staging/stg_customers.sql": (
        "{{ clean_city('customer_city') }}",
        "upper({{ clean_city('customer_city') }})",
    ),
}


@contextmanager
def deploy(pipeline: InProcessPipeline, folder: Path) -> Iterator[None]:
    """Copy the project, change the copy as in `NEW_RULES`, and let the pipeline use the copy."""
    generated = shutil.ignore_patterns("target", "logs", "__pycache__")
    shutil.copytree(DBT_PROJECT, folder / "dbt", ignore=generated)
    shutil.copytree(SPARK_JOBS, folder / "spark_jobs", ignore=generated)
    for name, (before, after) in NEW_RULES.items():
        text = (folder / name).read_text()
        assert before in text
        (folder / name).write_text(text.replace(before, after))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprint, "DBT_PROJECT", folder / "dbt")
        patch.setattr(fingerprint, "SPARK_JOBS", folder / "spark_jobs")
        patch.setattr(manifest, "MANIFESTS", folder / "parsed")
        patch.setattr(pipeline, "dbt", Dbt(pipeline.environment, folder / "parsed", folder / "dbt"))
        # Write the manifests of the copy.
        pipeline.dbt.manifest("trino")
        pipeline.dbt.invoke("spark", *PARSE["spark"])
        patch.setattr(pipeline, "spark", pipeline.start_spark(folder / "spark_jobs"))
        try:
            yield
        finally:
            pipeline.close()


def read_rules(stack: Stack) -> tuple[set[str], set[str]]:
    """Return the values that depend on the two expressions: the segments in PostgreSQL, and the cities in silver."""
    return (
        {segment for (segment,) in stack.query_gold("select segment from gold.customer_analytics")},
        {city for (city,) in stack.query_trino("select customer_city from silver.stg_customers")},
    )


def test_rows_by_two_versions_of_a_rule_are_never_published_together(
    stack: Stack, pipeline: InProcessPipeline, tmp_path: Path
) -> None:
    pipeline.forget("bronze", "silver", "gold")
    shop = Shop(stack.urls["SOURCE_URL"], random.Random(0))
    for customer in CUSTOMERS[:2]:
        shop.sell(customer, customer)
    shop.tick()
    pipeline.run("first", RunKind.RANGED, Window(OPENING, shop.clock))
    assert read_rules(stack) == ({"one-time"}, {"sao paulo"})

    shop.sell("third", CUSTOMERS[2])
    shop.tick()
    window = Window(OPENING, shop.clock)
    bronze = [name for name in pipeline.draw_tasks(shop.rng) if name.startswith("bronze.")]
    pipeline.run("second", RunKind.RANGED, window, bronze)
    with deploy(pipeline, tmp_path):
        with pytest.raises(CodeChangedError):
            claim_run(Task("second", Group.SILVER_STAGING, dag=task_graph()))
        with pytest.MonkeyPatch.context() as patch, pytest.raises(RebuildError, match="rows of silver"):
            patch.setattr(settings(), "rebuild_rows", 5)
            pipeline.run("second", RunKind.RANGED, window)
        assert read_rules(stack) == ({"one-time"}, {"sao paulo"})
        pipeline.run("second", RunKind.RANGED, window)
        assert read_rules(stack) == ({"single"}, {"SAO PAULO"})
        assert stack.query_gold("select count(*) from gold.customer_analytics") == [(3,)]

        published = count_rows(stack)
        # For the next run neither the code nor the rows have changed.
        pipeline.run("third", RunKind.RANGED, window)
        assert pipeline.idle["third"] and count_rows(stack) == published
        pipeline.forget("silver", "gold")
        pipeline.run("rebuilt", RunKind.REBUILD, rebuild="silver")
        assert count_rows(stack) == published
