-- Findings that somebody should know of: a row per kind and subject, with the time when it was found, last seen, passed
-- to the notifier, and gone.
create table audit.findings (
    kind text not null,
    subject text not null,
    message text not null,
    found_at timestamptz not null default now(),
    seen_at timestamptz not null default now(),
    reported_at timestamptz,
    cleared_at timestamptz,
    primary key (kind, subject)
);

-- Whether a person let the run publish with these rejected rows, which then count as good ones.
alter table audit.entity_accounts add column accepted boolean not null default false;

-- Each run asks several times for the attempts above the published batch.
create index data_pipeline_runs_batch on audit.data_pipeline_runs (batch);
