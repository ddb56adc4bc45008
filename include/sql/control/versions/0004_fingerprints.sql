-- Lock this row first, in the same order as publishing, so that the two can't deadlock.
select only_row from audit.pipeline for update;

-- The code of runs and publications before this version is unknown.
alter table audit.runs
add column code text, add column code_since timestamptz, add column fingerprints jsonb not null default '{}';

alter table audit.pipeline
add column fingerprints jsonb not null default '{}', add column outdated text[] not null default '{}';

alter table audit.publications add column fingerprints jsonb not null default '{}';
