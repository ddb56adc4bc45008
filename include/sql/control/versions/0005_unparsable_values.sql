-- Keys whose deciding version lost a value of an optional column, because it can't be converted.
alter table audit.entity_accounts
add column unparsable_latest bigint not null default 0;
