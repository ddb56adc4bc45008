-- Database `bi`: the published tables. BI roles read `gold` and nothing else.
create schema if not exists gold authorization publisher;
create schema if not exists staging authorization publisher;
create schema if not exists audit authorization publisher;
alter role bi_reader in database bi set search_path = gold;
grant usage on schema gold to bi_reader;
grant select on all tables in schema gold to bi_reader;
alter default privileges for role publisher in schema gold grant select on tables to bi_reader;
