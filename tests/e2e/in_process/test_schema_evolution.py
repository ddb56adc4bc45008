"""Trino, Spark and pyiceberg read a table correctly after its columns, types and partitions changed.

Trino and Spark also write to it correctly.
"""

from datetime import datetime
from decimal import Decimal

import pytest

from ..conftest import Stack

# Layer -> the engine that creates its tables, the first partitioning, and the later one in Trino's and in Spark's
# syntax. Trino must not change the number of buckets: its new partition field would have the name of the old one, and
# Spark refuses such a table.
LAYERS = {
    "bronze": ("trino", "month(at)", "day(at)", "months(at) with days(at)"),
    "silver": ("spark", "bucket(16, id)", "bucket(id, 16)', 'month(at)", "bucket(16, id) with bucket(4, id)"),
    "gold": ("trino", "day(at)", "month(at)", "days(at) with months(at)"),
}
AT = (datetime(2018, 1, 15, 10), datetime(2018, 2, 1, 11), datetime(2018, 2, 10, 12))
BEFORE = [(1, AT[0], Decimal("1.50")), (2, AT[1], Decimal("-2.25"))]
# The values of the third row do not fit the old types, integer and decimal(9, 2).
AFTER = [
    (1, AT[0], Decimal("1.50"), "one"),
    (2, AT[1], Decimal("-2.25"), None),
    (3_000_000_000, AT[2], Decimal("9999999999.99"), "three"),
]


def create_table(stack: Stack, layer: str, table: str) -> None:
    """Create a table with the layer's engine and partitions, and insert the rows of `BEFORE`."""
    engine, partitions, *_ = LAYERS[layer]
    values = "(1, timestamp '2018-01-15 10:00:00', 1.50), (2, timestamp '2018-02-01 11:00:00', -2.25)"
    if engine == "trino":
        columns = "id integer, at timestamp(6), amount decimal(9, 2)"
        stack.query_trino(f"drop table if exists {table}")
        stack.query_trino(
            f"create table {table} ({columns}) with (format_version = 2, partitioning = array['{partitions}'])"
        )
        stack.query_trino(f"insert into {table} values {values}")
    else:
        columns = "id int, at timestamp_ntz, amount decimal(9, 2)"
        stack.query_spark(f"drop table if exists {table}")
        stack.query_spark(
            f"create table {table} ({columns}) using iceberg partitioned by ({partitions}) tblproperties"
            " ('format-version' = '2', 'write.merge.mode' = 'merge-on-read', 'write.update.mode' = 'merge-on-read')"
        )
        stack.query_spark(f"insert into {table} values {values.replace('timestamp', 'timestamp_ntz')}")


def evolve_table(stack: Stack, engine: str, layer: str, table: str) -> None:
    """Let an engine add a column, widen two types and change the partitions."""
    *_, trino_partitions, spark_partitions = LAYERS[layer]
    if engine == "trino":
        stack.query_trino(f"alter table {table} add column note varchar")
        stack.query_trino(f"alter table {table} alter column id set data type bigint")
        stack.query_trino(f"alter table {table} alter column amount set data type decimal(18, 2)")
        stack.query_trino(f"alter table {table} set properties partitioning = array['{trino_partitions}']")
    else:
        stack.query_spark(f"alter table {table} add column note string")
        stack.query_spark(f"alter table {table} alter column id type bigint")
        stack.query_spark(f"alter table {table} alter column amount type decimal(18, 2)")
        stack.query_spark(f"alter table {table} replace partition field {spark_partitions}")


def merge_rows(stack: Stack, engine: str, table: str) -> None:
    """Insert the third row and update the first, which is in a file with the old schema and partitions."""
    merge = f"""
        merge into {table} as target
        using (
            select 1 as id, timestamp '2018-01-15 10:00:00' as at, 1.50 as amount, 'one' as note
            union all
            select 3000000000, timestamp '2018-02-10 12:00:00', 9999999999.99, 'three'
        ) as incoming
        on target.id = incoming.id
        when matched then update set note = incoming.note
        when not matched then insert (id, at, amount, note)
            values (incoming.id, incoming.at, incoming.amount, incoming.note)
    """
    if engine == "trino":
        stack.query_trino(merge)
    else:
        stack.query_spark(merge.replace("timestamp '", "timestamp_ntz '"))


@pytest.mark.parametrize("evolving", ["trino", "spark"])
@pytest.mark.parametrize("layer", LAYERS)
def test_evolved_table_is_read_and_written_by_every_engine(stack: Stack, layer: str, evolving: str) -> None:
    table = f"{layer}.evolved"
    create_table(stack, layer, table)
    snapshot = stack.catalog.load_table(table).current_snapshot()
    assert snapshot
    evolve_table(stack, evolving, layer, table)
    for engine in ("trino", "spark"):  # the second merge changes nothing
        merge_rows(stack, engine, table)

    assert stack.query_trino(f"select id, at, amount, note from {table} order by id") == AFTER
    spark = stack.query_spark(
        f"select id, cast(at as string), cast(amount as string), note from {table} order by id"
    )
    assert spark == [(key, str(at), str(amount), note) for key, at, amount, note in AFTER]
    rows = stack.catalog.load_table(table).scan().to_arrow().sort_by("id").to_pylist()
    assert [tuple(row[name] for name in ("id", "at", "amount", "note")) for row in rows] == AFTER
    filtered = stack.catalog.load_table(table).scan("at >= '2018-02-01T00:00:00'").to_arrow()
    assert sorted(filtered["id"].to_pylist()) == [2, 3_000_000_000]

    old = f"{table} for version as of {snapshot.snapshot_id}"
    assert stack.query_trino(f"select id, at, amount from {old} order by id") == BEFORE
    assert len(stack.catalog.load_table(table).specs()) == 2
    stack.query_trino(f"drop table {table}")
