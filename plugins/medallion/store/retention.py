"""Retention of the store: old records are deleted, but none that a run still needs."""

from datetime import timedelta

from medallion.engines.postgres import Cursor

# Table -> statement, in this order: test results are deleted after their attempts, runs after their attempts, and
# snapshots and accounts after their publications. Records of unpublished batches stay, because later runs read them.
STATEMENTS = {
    "data_pipeline_runs": """
        delete from audit.data_pipeline_runs
        where start_time < now() - %(age)s and coalesce(batch, 0) <= (select published_batch from audit.pipeline)
    """,
    "test_results": """
        delete from audit.test_results as results
        where not exists (
            select from audit.data_pipeline_runs as attempts
            where
                attempts.dag_id = results.dag_id and attempts.run_id = results.run_id
                and attempts.task_id = results.task_id and attempts.try_number = results.try_number
        )
    """,
    "runs": """
        delete from audit.runs
        where
            resolved_at < now() - %(age)s
            and not exists (
                select from audit.data_pipeline_runs as attempts
                where attempts.dag_id = runs.dag_id and attempts.run_id = runs.run_id
            )
            and (dag_id, run_id) not in (
                select lease_dag_id, lease_run_id from audit.pipeline where lease_run_id is not null
            )
    """,
    "publications": """
        delete from audit.publications
        where
            published_at < now() - %(publication_age)s
            and batch < (select max(batch) from audit.publications)
            and batch not in (select batch from gold.publication)
    """,
    "snapshots": """
        delete from audit.snapshots
        where
            batch < (select coalesce(min(batch), 0) from audit.publications)
            and batch <= (select published_batch from audit.pipeline)
    """,
    "entity_accounts": """
        delete from audit.entity_accounts
        where
            batch < (select coalesce(min(batch), 0) from audit.publications)
            and batch <= (select published_batch from audit.pipeline)
    """,
    "reconciliations": "delete from audit.reconciliations where compared_at < now() - %(age)s",
    # Nobody clears a new value: it is named once.
    "findings": """
        delete from audit.findings
        where cleared_at < now() - %(age)s or kind = 'new_value' and seen_at < now() - %(age)s
    """,
}


def delete_old_records(cursor: Cursor, age: timedelta, publication_age: timedelta) -> dict[str, int]:
    """Delete records older than `age`; return the number of deleted rows by table. Safe to repeat.

    Publications, with their snapshots and accounts, must be older than `publication_age`, too. The last publication
    stays, and the one that BI reads.
    """
    counts = {}
    for table, statement in STATEMENTS.items():
        cursor.execute(statement.encode(), {"age": age, "publication_age": max(age, publication_age)})
        counts[table] = cursor.rowcount
    return counts
