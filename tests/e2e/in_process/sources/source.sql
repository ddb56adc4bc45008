-- Source tables of every column type, with unusual names, and of every kind of relation. The role `source_reader` has
-- only the rights that are granted at the end of this file.
create extension if not exists hstore with schema public;
create extension if not exists citext with schema public;
create schema "Typed Things";
create schema kinds;
set search_path = "Typed Things", public;

create type mood as enum ('calm', 'it''s "loud"');
create type place as (street text, number integer, since date);
create domain share as numeric(5, 4);
create domain small_share as share check (value < 1);
create domain tags as text [];

create table "all types" (
    id integer primary key,
    updated_at timestamptz not null,
    an_int2 smallint,
    an_int8 bigint,
    a_real real,
    a_double double precision,
    a_bool boolean,
    a_uuid uuid,
    a_numeric numeric,
    a_decimal numeric(12, 4),
    a_wide numeric(38, 10),
    a_wider numeric(50, 2),
    a_rounded numeric(5, -2),
    a_tiny numeric(3, 5),
    a_money money,
    a_date date,
    a_timestamp timestamp,
    a_coarse timestamp(3),
    a_timestamptz timestamptz,
    a_time time,
    a_timetz timetz,
    an_interval interval,
    a_bit bit(4),
    a_varbit varbit,
    an_inet inet,
    a_cidr cidr,
    a_macaddr macaddr,
    a_point point,
    a_polygon polygon,
    an_int4range int4range,
    a_tstzrange tstzrange,
    an_int4multirange int4multirange,
    an_xml xml,
    a_tsvector tsvector,
    a_citext citext,
    a_mood mood,
    a_json json,
    a_jsonb jsonb,
    a_place place,
    some_places place [],
    an_hstore hstore,
    some_texts text [],
    some_numbers numeric [] [],
    some_tags tags,
    a_bytea bytea,
    a_share share,
    a_small_share small_share,
    a_char char(5),
    a_varchar varchar(7),
    a_text text,
    a_name name,
    an_oid oid,
    doubled integer generated always as (id * 2) stored
);

insert into "all types" values
(
    1, '2024-01-01 00:00Z', -32768, 9223372036854775807, 0.1, 1e308, true, 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11',
    1234567890123456789012345678901234567890.000100, 12345678.1250, 1234567890123456789012345678.0123456789,
    123456789012345678901234567890123456789012345678.99, 12345, 0.00123, '1234.5', '2024-02-29',
    '2024-03-31 02:30:00.123456', '2024-03-31 02:30:00.123', '2024-03-31 01:30:00.5+02', '23:59:59.999999',
    '10:30:00+05:30', '1 year -2 months 3 days 04:05:06.7', b'1010', b'1', '192.168.0.1', '10.1.0.0/16',
    '08:00:2b:01:02:03', '(1.5,-2)', '((0,0),(1,1),(1,0))', '[1,10)', '["2024-01-01 00:00+01",infinity)',
    '{[1,3),[5,7)}', null, 'a fat cat', 'MiXed', 'it''s "loud"', '{"b": 1,  "a": null}',
    '{"b": 1.10, "a": [null, "x"]}', row('it''s', 7, '2020-01-01'), array[row('a', 1, null)::place], 'a=>1, b=>NULL',
    array['x', null, 'it''s, "so"'], '{{1.50,NaN},{3,4}}', array['t'], '\x00ff10', 0.1250, 0.5, 'ab', 'it''s', E'a\nb\t ',
    'pg_class', 4294967295
),
(
    2, '2024-01-02 00:00Z', 32767, -9223372036854775808, 'NaN', '-Infinity', false, null, 'NaN', 'NaN', 'NaN', 'NaN',
    null, null, '-0.01', 'infinity', '-infinity', 'infinity', '-infinity', '24:00:00', '00:00:00-12', '-1 day', null, '',
    '::1/64', null, null, null, null, 'empty', 'empty', '{}', null, '', '', 'calm', 'null', 'null', null, '{}', '', '{}',
    '{}', null, '', 'NaN', null, '', '', '', '', 0
),
(
    3, '2024-01-03 00:00Z', 0, 0, 1e-45, 5e-324, null, null, 'Infinity', -0.0001, 0, 0, 0, 0, 0, '0044-03-15 BC',
    '12024-01-01', '0001-01-01', '0044-03-15 12:00Z BC', '00:00:00', '00:00:00Z', '0', b'0000', b'0', '0.0.0.0/0',
    '::/0', '00:00:00:00:00:00', '(0,0)', '((0,0))', '(,)', '(,)', '{(,)}', null, '', ' ', null, '1', '1', row(null, null, null),
    null, null, null, null, '{}', null, 9.9999, -9.9999, '     ', ' ', ' ', ' ', 1
);
insert into "all types" values
(
    4, '2024-01-04 00:00Z', null, null, '-Infinity', '-0', null, null, '-Infinity', null, null, null, null, null, null,
    '9999-12-31', '9999-12-31 23:59:59.999999', null, '0001-01-01 00:00Z'
);

create table "Ünïque ""100%"".t?" (
    "SéLECT ""a.b"" 100%?" text,
    "Twin" integer,
    twin integer,
    "TWIN" integer,
    twin_2 integer,
    "select" text,
    "Ärger" text,
    "ärger" text,
    "1" text,
    "null" text,
    _op text,
    "_HASH" text,
    "sixty-three bytes long, the most that PostgreSQL takes: ÄÖÜ!" text,
    updated_at timestamptz not null
);

set search_path = kinds, public;

create table rows_of_others (id integer, note text, updated_at timestamptz not null);
insert into rows_of_others values (1, 'one', '2024-01-01 00:00Z'), (2, 'two', '2024-01-02 00:00Z');
create view plain_view as select * from rows_of_others;
create materialized view materialized as select * from rows_of_others;
create table partitioned (id integer, note text, updated_at timestamptz not null) partition by range (updated_at);
create table partition_1 partition of partitioned for values from ('2024-01-01 00:00Z') to ('2024-01-02 00:00Z');
create table partition_2 partition of partitioned default;
insert into partitioned select * from rows_of_others;
create table parent (id integer, note text, updated_at timestamptz not null);
create table child (more text) inherits (parent);
insert into parent values (1, 'one', '2024-01-01 00:00Z');
insert into child values (2, 'two', '2024-01-02 00:00Z', 'only of the child');

create table granted (
    id integer, secret text, "E-Mail" text, born date, "Photo" bytea, updated_at timestamptz not null
);
insert into granted values
(1, 'not to be read', 'a@example.org', '1990-01-31', '\xff', '2024-01-01 00:00Z'),
(2, 'not to be read', null, null, null, '2024-01-02 00:00Z');

create table policed (id integer, note text, updated_at timestamptz not null);
insert into policed select * from rows_of_others;
create table retyped (id integer, amount numeric(5, 2), code varchar(5), day text, updated_at timestamptz not null);
insert into retyped values (1, 1.25, 'abc', '2024-01-01 00:00:00', '2024-01-01 00:00Z');
create table endless_key (day date, updated_at timestamptz not null);
insert into endless_key values ('2024-01-01', '2024-01-01 00:00Z');

grant usage on schema "Typed Things", kinds to source_reader;
grant select on all tables in schema "Typed Things", kinds to source_reader;
revoke select on granted from source_reader;
grant select (id, "E-Mail", born, "Photo", updated_at) on granted to source_reader;
