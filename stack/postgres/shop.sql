-- Database `shop`: the schema of the source and who may read it; the tables are the shop's own business.
create schema if not exists sales authorization shop;
alter role shop in database shop set search_path = sales;
alter role source_reader in database shop set search_path = sales;
grant usage on schema sales to source_reader;
grant select on all tables in schema sales to source_reader;
alter default privileges for role shop in schema sales grant select on tables to source_reader;
