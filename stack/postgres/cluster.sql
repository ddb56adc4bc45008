-- Roles and databases of the cluster; run as superuser at every start. :'name' are psql variables.
\set ON_ERROR_STOP on

select format('create role %I login', name)
from unnest(array['airflow', 'lake', 'shop', 'source_reader', 'publisher', 'bi_reader']) as names (name)
where not exists (select from pg_roles where rolname = name)
\gexec

-- Passwords come from the environment: not in a command line, not in the server's log.
\set airflow_password `echo "$AIRFLOW_DB_PASSWORD"`
\set lake_password `echo "$LAKE_PASSWORD"`
\set shop_password `echo "$SHOP_PASSWORD"`
\set source_reader_password `echo "$SOURCE_READER_PASSWORD"`
\set publisher_password `echo "$PUBLISHER_PASSWORD"`
\set bi_reader_password `echo "$BI_READER_PASSWORD"`
set log_min_error_statement = panic;
-- They are long and random: there is nothing to guess, and Trino logs in anew for each look at the catalog.
set scram_iterations = 1;
alter role airflow password :'airflow_password';
alter role lake password :'lake_password';
alter role shop password :'shop_password';
alter role publisher password :'publisher_password';
alter role source_reader password :'source_reader_password';
alter role bi_reader password :'bi_reader_password';

-- What a killed scheduler forked holds its connection open, and with it the lock by which tasks are queued.
alter role airflow set idle_in_transaction_session_timeout = '1min';

-- We are guests in the source: reads only, never for long, never over many connections.
alter role source_reader set default_transaction_read_only = on;
alter role source_reader set statement_timeout = '15min';
alter role source_reader connection limit 20;
alter role bi_reader set default_transaction_read_only = on;

select format('create database %I owner %I', name, owner)
from (values ('airflow', 'airflow'), ('lake', 'lake'), ('shop', 'shop'), ('bi', 'publisher')) as wanted (name, owner)
where not exists (select from pg_database where datname = name)
\gexec

revoke connect, temporary on database airflow, lake, shop, bi from public;
grant connect on database shop to source_reader;
grant connect on database bi to bi_reader;
