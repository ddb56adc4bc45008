-- Findings that people are notified of, one row per kind and subject: when the finding was first found, last seen,
-- passed to the notifier, and found to be gone.
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

-- Whether a person let the run publish despite its rejected rows. Later checks count accepted rows as good ones.
alter table audit.entity_accounts add column accepted boolean not null default false;

-- Each run reads the attempts above the published batch several times.
create index data_pipeline_runs_batch on audit.data_pipeline_runs (batch);
