"""Measure publishing: the task that applies staged rows to the gold tables of PostgreSQL."""

import click

from bench.meter import record, show_costs
from bench.runs import count_orders, measure_run, prepare
from medallion.names import GOLD, Group, task_id
from medallion.project.contracts import GoldTable, gold_tables
from stack.demo import shop
from stack.errors import StackError
from stack.pipeline import on_trino, publication, show
from stack.settings import Settings


def change_gold(settings: Settings, rows: int, batch: int) -> None:
    """Change `rows` rows of the lake's gold tables as a run with `batch` would: add 1 to a number in each row.

    Each table gets about the same number of changed rows.
    """
    sizes: list[tuple[int, GoldTable]] = []
    for table in gold_tables():
        _, [(size,)] = on_trino(settings, f"select count(*) from {GOLD}.{table.name}")
        sizes.append((size, table))
    for left, (size, table) in zip(
        range(len(sizes), 0, -1), sorted(sizes, key=lambda pair: pair[0]), strict=True
    ):
        count = min(size, rows // left)
        rows -= count
        number = next(
            name for name, type in table.contract.items() if type == "bigint" and name not in table.key
        )
        keys, name = ", ".join(table.key), f"{GOLD}.{table.name}"
        on_trino(
            settings,
            f"update {name} set {number} = {number} + 1, _batch = {batch}"
            f" where ({keys}) in (select {keys} from {name} limit {count})",
        )
    if rows:
        raise StackError(f"Gold lacks {rows:,} rows: measure with more orders, or with a smaller --rows.")


@click.command()
@click.option("--rows", default=10_000, show_default=True, help="Rows that change, over all gold tables.")
def publish(rows: int) -> None:
    """Measure the task `publish` for changed rows of gold, without the tasks that stage the rows.

    Wrong figures are written to gold and published. Then gold is rebuilt, which publishes the right figures again; this
    publication is measured, too.
    """
    settings = prepare()
    last = publication(settings)
    assert last  # noqa: S101, `prepare` has checked that there is one
    change_gold(settings, rows, last[1] + 1)
    # Change a row at the source, because a run without changes would skip gold.
    shop(settings, "change", "--orders", "0", "--customers", "1", "--products", "0", "--sellers", "0")
    costs = [measure_run(settings), measure_run(settings, {"rebuild": GOLD})]
    staging = ", ".join(f"'{task_id(Group.STAGE, table.name)}'" for table in gold_tables())
    columns, figures = on_trino(
        settings,
        f"select batch, sum(records_processed) filter (where task_id in ({staging})) as rows,"
        f" max(to_unixtime(end_time) - to_unixtime(start_time)) filter (where task_id = '{Group.PUBLISH}') as publish,"
        f" to_unixtime(max(end_time) filter (where task_id in ({staging})))"
        f" - to_unixtime(min(start_time) filter (where task_id in ({staging}))) as stage"
        f" from postgres_gold.audit.data_pipeline_runs where batch > {last[1]} group by batch order by batch",
    )
    show_costs("publish", costs)
    show(
        "Rows, and seconds of publishing and staging",
        columns,
        [(*row[:2], *(f"{seconds:.2f}" for seconds in row[2:])) for row in figures],
    )
    record(
        "publish",
        max(seconds for _, _, seconds, _ in figures),
        "s",
        "at most 3 s",
        {"runs": costs},
        count_orders(settings),
    )
