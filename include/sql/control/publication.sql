-- The publication that BI reads, in one row: the tables of the schema `gold` hold all changes before `window_end`, if
-- that is set. This table is in `gold` and in no migration, so that it is created again after somebody dropped `gold`.
create table if not exists gold.publication (
    run_id text not null,
    batch bigint not null,
    window_end timestamptz,
    published_at timestamptz not null
);
create unique index if not exists publication_one_row on gold.publication ((true));
