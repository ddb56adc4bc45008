-- State of the pipeline, in the database of the gold tables. Safe to run again.
-- "if not exists" asks for the right to create schemas also where all are there.
do $$
declare name text;
begin
    for name in select * from unnest(array['audit', 'staging', 'gold']) as names where to_regnamespace(names) is null loop
        execute format('create schema %I', name);
    end loop;
end $$;

-- One row: what is published, who may write, what is asked for.
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
    -- The run that rolled gold back: nothing is published until publishing is resumed.
    held_by text
);
insert into audit.pipeline default values on conflict do nothing;

-- The runs that wait for the lease, in the order in which they first asked, and when they last did.
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

-- One row per try of a task; a try 0 is of a task of bronze that `begin` skipped.
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

-- What each test found in a try of a task: its status (pass, warn, fail, error), and how many rows do not pass.
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

-- What became of the row versions that a run read, per entity.
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

-- What a reconciliation found in a table of bronze, a row per try; lake.reconciled.<table> has the last one's rows.
create table if not exists audit.reconciliations (
    batch bigint not null,
    table_name text not null,
    compared_at timestamptz not null,
    missed bigint not null,
    deleted bigint not null,
    went_back bigint not null
);

-- The tables' Iceberg snapshots as a run's audit found them.
create table if not exists audit.snapshots (
    batch bigint not null,
    table_name text not null,
    snapshot_id bigint not null,
    committed_at timestamptz not null,
    total_records bigint,
    primary key (batch, table_name)
);

-- Every publication, and what it was made from: what gold can be rolled back to.
create table if not exists audit.publications (
    batch bigint primary key,
    run_id text not null,
    window_end timestamptz,
    published_at timestamptz not null,
    published_batch bigint not null,
    snapshots jsonb not null
);

-- One row: what the tables of this schema show; all that the source knew before `window_end`, if it is set.
create table if not exists gold.publication (
    run_id text not null,
    batch bigint not null,
    window_end timestamptz,
    published_at timestamptz not null
);
create unique index if not exists publication_one_row on gold.publication ((true));
