-- unmoved: rows that changed although their cursor did not, or that have no cursor. null_cursor, ahead: rows at the source
-- whose cursor is null, or later than the source's clock. ambiguous: keys that several different rows share.
alter table audit.reconciliations
add column unmoved bigint not null default 0,
add column null_cursor bigint not null default 0,
add column ahead bigint not null default 0,
add column ambiguous bigint not null default 0;
