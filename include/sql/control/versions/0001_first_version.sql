-- The state of the pipeline as of version 0.1.0. Databases of that version have these tables already.

-- One row: the last publication, the holder of the lease, and the rebuild that was requested.
create table if not exists audit.pipeline (
    only_row boolean primary key default true check (only_row),
    watermark timestamptz,
    published_batch bigint not null default 0,
    published_snapshots jsonb not null default '{}',
    last_batch bigint not null default 0,
    lease_dag_id text,
    lease_run_id text,
    lease_batch bigint,
    rebuild text not null default 'none' check (rebuild in ('none', 'gold', 'silver')),
    rebuild_batch bigint not null default 0,
    -- The run that rolled gold back. Nothing is published until publishing is resumed.
    held_by text
);
insert into audit.pipeline default values on conflict do nothing;

-- Runs that wait for the lease, in the order of their first request, with the time of the last one.
create table if not exists audit.lease_queue (
    dag_id text not null,
    run_id text not null,
    place bigint generated always as identity,
    seen_at timestamptz not null,
    primary key (dag_id, run_id)
);

-- The window of each run, resolved once.
create table if not exists audit.runs (
    dag_id text not null,
    run_id text not null,
    kind text not null,
    window_start timestamptz,
    window_end timestamptz,
    extract_from timestamptz,
    resolved_at timestamptz not null default now(),
    primary key (dag_id, run_id)
);

-- One row per attempt of a task. Attempt 0 belongs to a bronze task that `begin` skipped.
create table if not exists audit.data_pipeline_runs (
    run_id text not null,
    model_name text not null,
    start_time timestamptz not null,
    end_time timestamptz,
    status text not null,
    records_processed bigint,
    dag_id text not null,
    task_id text not null,
    try_number integer not null,
    batch bigint,
    error text,
    primary key (dag_id, run_id, task_id, try_number)
);

-- The result of each test in an attempt: status (pass, warn, fail, error) and number of failing rows.
create table if not exists audit.test_results (
    dag_id text not null,
    run_id text not null,
    task_id text not null,
    try_number integer not null,
    test_name text not null,
    status text not null,
    failures bigint,
    primary key (dag_id, run_id, task_id, try_number, test_name)
);

-- Per entity and batch: the row versions that were read, by outcome.
create table if not exists audit.entity_accounts (
    batch bigint not null,
    entity text not null,
    read bigint not null,
    current bigint not null,
    deleted bigint not null,
    superseded bigint not null,
    quarantined bigint not null,
    latest bigint not null,
    rejected_latest bigint not null,
    primary key (batch, entity)
);

-- The findings of a reconciliation in a bronze table: a row of counts per attempt. lake.reconciled.<table> has the rows
-- that the last attempt found.
create table if not exists audit.reconciliations (
    batch bigint not null,
    table_name text not null,
    compared_at timestamptz not null,
    missed bigint not null,
    deleted bigint not null,
    went_back bigint not null
);

-- The current Iceberg snapshot of each table at the audit of a run.
create table if not exists audit.snapshots (
    batch bigint not null,
    table_name text not null,
    snapshot_id bigint not null,
    committed_at timestamptz not null,
    total_records bigint,
    primary key (batch, table_name)
);

-- Every publication and the snapshots that it was built from. Gold can be rolled back to each of them.
create table if not exists audit.publications (
    batch bigint primary key,
    run_id text not null,
    window_end timestamptz,
    published_at timestamptz not null,
    published_batch bigint not null,
    snapshots jsonb not null
);
