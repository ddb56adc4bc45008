-- The publication that BI reads. It is outside of the store's schema, so that its owner may drop and restore gold.
-- One row: the tables of this schema hold all changes before `window_end`, if it is set.
create table if not exists gold.publication (
    run_id text not null,
    batch bigint not null,
    window_end timestamptz,
    published_at timestamptz not null
);
create unique index if not exists publication_one_row on gold.publication ((true));
