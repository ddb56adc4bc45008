-- Differences under a cursor that did not move; rows at the source whose cursor is null or ahead of the clock; keys that
-- differing rows share.
alter table audit.reconciliations
add column unmoved bigint not null default 0,
add column null_cursor bigint not null default 0,
add column ahead bigint not null default 0,
add column ambiguous bigint not null default 0;
