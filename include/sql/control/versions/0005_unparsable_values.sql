-- Number of keys in whose deciding version a value of an optional column can't be converted, and so is null.
alter table audit.entity_accounts
add column unparsable_latest bigint not null default 0;
