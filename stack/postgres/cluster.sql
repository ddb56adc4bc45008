-- Roles and databases of the cluster, run as superuser at every start. psql replaces its variables, such as :'name'.
\set ON_ERROR_STOP on

select format('create role %I login', name)
from unnest(array['airflow', 'lake', 'shop', 'source_reader', 'publisher', 'bi_reader']) as names (name)
where not exists (select from pg_roles where rolname = name)
\gexec

-- Passwords come from the environment, so that no command line and no log shows them.
\set airflow_password `echo "$AIRFLOW_DB_PASSWORD"`
\set lake_password `echo "$LAKE_PASSWORD"`
\set shop_password `echo "$SHOP_PASSWORD"`
\set source_reader_password `echo "$SOURCE_READER_PASSWORD"`
\set publisher_password `echo "$PUBLISHER_PASSWORD"`
\set bi_reader_password `echo "$BI_READER_PASSWORD"`
set log_min_error_statement = panic;
-- Long random passwords need no slow hash. A fast one saves time, because Trino logs in whenever it reads the catalog.
set scram_iterations = 1;
alter role airflow password :'airflow_password';
alter role lake password :'lake_password';
alter role shop password :'shop_password';
alter role publisher password :'publisher_password';
alter role source_reader password :'source_reader_password';
alter role bi_reader password :'bi_reader_password';

-- Processes forked by a killed scheduler keep its connection open, and with it the lock for queueing tasks.
alter role airflow set idle_in_transaction_session_timeout = '1min';

-- The pipeline must not burden the source: it only reads, never for long, and over few connections.
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
