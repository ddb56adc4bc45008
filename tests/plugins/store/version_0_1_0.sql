-- A gold database of version 0.1.0 with rows in every table. The run `first` has published, and the run `second` is in
-- progress and holds the lease. Never change this file: the schema must stay as version 0.1.0 created it.

do $$
declare name text;
begin
    for name in select * from unnest(array['audit', 'staging', 'gold']) as names where to_regnamespace(names) is null loop
        execute format('create schema %I', name);
    end loop;
end $$;

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
    held_by text
);
insert into audit.pipeline default values on conflict do nothing;

create table if not exists audit.lease_queue (
    dag_id text not null,
    run_id text not null,
    place bigint generated always as identity,
    seen_at timestamptz not null,
    primary key (dag_id, run_id)
);

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

create table if not exists audit.reconciliations (
    batch bigint not null,
    table_name text not null,
    compared_at timestamptz not null,
    missed bigint not null,
    deleted bigint not null,
    went_back bigint not null
);

create table if not exists audit.snapshots (
    batch bigint not null,
    table_name text not null,
    snapshot_id bigint not null,
    committed_at timestamptz not null,
    total_records bigint,
    primary key (batch, table_name)
);

create table if not exists audit.publications (
    batch bigint primary key,
    run_id text not null,
    window_end timestamptz,
    published_at timestamptz not null,
    published_batch bigint not null,
    snapshots jsonb not null
);

create table if not exists gold.publication (
    run_id text not null,
    batch bigint not null,
    window_end timestamptz,
    published_at timestamptz not null
);
create unique index if not exists publication_one_row on gold.publication ((true));

update audit.pipeline
set
    watermark = '2018-01-01 10:00+00',
    published_batch = 4,
    published_snapshots = '{"bronze.readings": 41, "gold.readings_by_day": 42}',
    last_batch = 5,
    lease_dag_id = 'medallion_hourly',
    lease_run_id = 'second',
    lease_batch = 5,
    rebuild = 'gold',
    rebuild_batch = 5;

insert into audit.lease_queue (dag_id, run_id, seen_at) values
('medallion_reconcile', 'third', '2018-01-01 11:01+00'),
('medallion_hourly', 'fourth', '2018-01-01 11:02+00');

insert into audit.runs (dag_id, run_id, kind, window_start, window_end, extract_from, resolved_at) values
('medallion_hourly', 'first', 'scheduled', '2018-01-01 09:00+00', '2018-01-01 10:00+00', '2018-01-01 08:45+00', '2018-01-01 10:00+00'),
('medallion_hourly', 'second', 'scheduled', '2018-01-01 10:00+00', '2018-01-01 11:00+00', '2018-01-01 09:45+00', '2018-01-01 11:00+00'),
('medallion_reconcile', 'daily', 'reconcile', null, null, null, '2018-01-01 03:30+00');

insert into audit.data_pipeline_runs
(dag_id, run_id, task_id, try_number, model_name, start_time, end_time, status, records_processed, batch, error) values
('medallion_hourly', 'first', 'freshness', 1, 'freshness', '2018-01-01 10:01+00', '2018-01-01 10:01+00', 'success', null, 4, null),
('medallion_hourly', 'first', 'bronze.readings', 1, 'readings', '2018-01-01 10:01+00',
    '2018-01-01 10:02+00', 'failed', null, 4, 'no such table'),
('medallion_hourly', 'first', 'bronze.readings', 2, 'readings', '2018-01-01 10:03+00', '2018-01-01 10:04+00', 'success', 12, 4, null),
('medallion_hourly', 'first', 'bronze.devices', 0, 'devices', '2018-01-01 10:01+00', '2018-01-01 10:01+00', 'skipped', null, 4, null),
('medallion_hourly', 'first', 'entities.spark', 1, 'spark', '2018-01-01 10:05+00', '2018-01-01 10:06+00', 'success', 12, 4, null),
('medallion_hourly', 'first', 'entities.test', 1, 'test', '2018-01-01 10:06+00', '2018-01-01 10:07+00', 'success', null, 4, null),
('medallion_hourly', 'first', 'silver.fact_readings', 1, 'fact_readings', '2018-01-01 10:07+00',
    '2018-01-01 10:08+00', 'success', 12, 4, null),
('medallion_hourly', 'first', 'gold.readings_by_day', 1, 'readings_by_day', '2018-01-01 10:08+00',
    '2018-01-01 10:09+00', 'success', 2, 4, null),
('medallion_hourly', 'first', 'audit', 1, 'audit', '2018-01-01 10:09+00', '2018-01-01 10:10+00', 'success', null, 4, null),
('medallion_hourly', 'first', 'stage.readings_by_day', 1, 'readings_by_day', '2018-01-01 10:10+00',
    '2018-01-01 10:11+00', 'success', 2, 4, null),
('medallion_hourly', 'first', 'publish', 1, 'publish', '2018-01-01 10:11+00', '2018-01-01 10:12+00', 'success', null, 4, null),
('medallion_hourly', 'first', 'end', 1, 'end', '2018-01-01 10:12+00', '2018-01-01 10:12+00', 'success', null, 4, null),
('medallion_hourly', 'second', 'bronze.readings', 1, 'readings', '2018-01-01 11:01+00', '2018-01-01 11:02+00', 'success', null, 5, null),
('medallion_hourly', 'second', 'entities.spark', 1, 'spark', '2018-01-01 11:02+00', null, 'killed', null, 5, null),
('medallion_hourly', 'second', 'entities.spark', 2, 'spark', '2018-01-01 11:05+00', null, 'running', null, 5, null),
('medallion_reconcile', 'daily', 'bronze.readings', 1, 'readings', '2018-01-01 03:31+00', '2018-01-01 03:32+00', 'success', null, 3, null),
('medallion_reconcile', 'daily', 'tests.trino', 1, 'trino', '2018-01-01 03:31+00', '2018-01-01 03:32+00', 'success', null, 3, null),
('medallion_reconcile', 'daily', 'tests.spark', 1, 'spark', '2018-01-01 03:31+00', '2018-01-01 03:32+00', 'success', null, 3, null),
('lakehouse_maintenance', 'daily', 'measure', 1, 'measure', '2018-01-01 04:31+00', '2018-01-01 04:32+00', 'success', null, null, null),
('lakehouse_maintenance', 'daily', 'compact', 1, 'compact', '2018-01-01 04:32+00', '2018-01-01 04:33+00', 'success', null, 3, null),
('lakehouse_maintenance', 'daily', 'expire', 1, 'expire', '2018-01-01 04:33+00', '2018-01-01 04:34+00', 'success', null, 3, null),
('medallion_rollback', 'back', 'choose', 1, 'choose', '2018-01-01 05:00+00', '2018-01-01 05:01+00', 'skipped', null, 3, null),
('medallion_rollback', 'back', 'restore', 1, 'restore', '2018-01-01 05:01+00', '2018-01-01 05:02+00', 'success', null, 3, null);

insert into audit.test_results (dag_id, run_id, task_id, try_number, test_name, status, failures) values
('medallion_hourly', 'first', 'bronze.readings', 2, 'changelog_readings', 'pass', 0),
('medallion_hourly', 'first', 'entities.test', 1, 'entity_stg_readings', 'warn', 2),
('medallion_hourly', 'first', 'silver.fact_readings', 1, 'unique_key_fact_readings', 'pass', 0),
('medallion_hourly', 'first', 'gold.readings_by_day', 1, 'unique_key_readings_by_day', 'pass', 0),
('medallion_reconcile', 'daily', 'tests.trino', 1, 'entity_stg_readings', 'fail', 3);

insert into audit.entity_accounts
(batch, entity, read, current, deleted, superseded, quarantined, latest, rejected_latest) values
(4, 'readings', 12, 8, 1, 2, 1, 10, 1);

insert into audit.reconciliations (batch, table_name, compared_at, missed, deleted, went_back) values
(3, 'readings', '2018-01-01 03:32+00', 1, 2, 0);

insert into audit.snapshots (batch, table_name, snapshot_id, committed_at, total_records) values
(4, 'bronze.readings', 41, '2018-01-01 10:04+00', 12),
(4, 'gold.readings_by_day', 42, '2018-01-01 10:09+00', 2);

insert into audit.publications (batch, run_id, window_end, published_at, published_batch, snapshots) values
(2, 'earlier', '2018-01-01 09:00+00', '2018-01-01 09:12+00', 2, '{"bronze.readings": 21}'),
(4, 'first', '2018-01-01 10:00+00', '2018-01-01 10:12+00', 4, '{"bronze.readings": 41, "gold.readings_by_day": 42}');

insert into gold.publication (run_id, batch, window_end, published_at) values
('first', 4, '2018-01-01 10:00+00', '2018-01-01 10:12+00');

create table gold.readings_by_day (day date not null, readings bigint, total numeric(18, 2));
create unique index readings_by_day_key on gold.readings_by_day (day);
insert into gold.readings_by_day (day, readings, total) values
('2017-12-31', 5, 10.00),
('2018-01-01', 7, 20.00);
