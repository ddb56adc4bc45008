-- Tables with types, keys, names and rights of many kinds. The role `reader` may read most of them.
create schema billing;
create type billing.state as enum ('draft', 'sent', 'paid');
create domain billing.amount as numeric(12, 2) not null check (value >= 0);
create domain billing.share as billing.amount check (value <= 100);
create type billing.pair as (low integer, high integer);

create table billing.invoices (
    invoice_id bigint primary key,
    payer text not null,
    status billing.state not null default 'draft',
    total billing.amount,
    discount numeric,
    rate real,
    lines jsonb,
    issued_on date not null,
    is_open boolean,
    updated_at timestamptz not null,
    constraint total_limit check (total between 0 and 1000000),
    constraint known_status check (status in ('draft', 'sent', 'paid')),
    constraint late check (issued_on >= '2000-01-01' or status = 'draft'),
    constraint letters check (payer ~ '^[a-z]'),
    constraint discount_limit check (discount < 1)
);
comment on table billing.invoices is 'One row per invoice.';
comment on column billing.invoices.payer is 'Who pays, "in person": {{ payer }}.';
create index on billing.invoices (updated_at);
insert into billing.invoices values (1, 'c', 'sent', 1, 0.1, 0.1, '{}', '2024-01-01', true, now());

create table billing.kinds (
    id uuid primary key,
    small smallint,
    whole integer,
    large bigint,
    amount numeric(38, 10),
    digits numeric(39, 2),
    rounded numeric(5, -2),
    tiny numeric(2, 5),
    free numeric,
    share billing.share,
    exact double precision,
    flag boolean,
    day date,
    moment timestamp(3),
    instant timestamptz,
    time_of_day time,
    span interval,
    price money,
    code char(3),
    word varchar(20),
    state billing.state,
    address inet,
    document json,
    bytes bytea,
    list integer [],
    pair billing.pair,
    period daterange,
    bits bit(3),
    updated_at timestamp
);

create table billing."Order.Lines" (
    "Invoice ID" bigint,
    "Line" integer,
    line text not null,
    "group" text,
    "it's" text,
    no integer,
    "Modified Date" date,
    primary key ("Invoice ID", "Line")
);

create schema crm;
create table crm.invoices (id uuid not null, name varchar(20) not null, _state integer, number integer, _reading integer);
create unique index on crm.invoices (id);
insert into crm.invoices values ('00000000-0000-0000-0000-000000000001', ' ', 1, 1);
create view crm.invoice_view as select id, name, number from crm.invoices;
create table crm.loose (code text unique, note text);
create table crm."日本" (id integer primary key);
create table crm.events (id integer, part integer, primary key (id, part)) partition by list (part);
create table crm.events_1 partition of crm.events for values in (1);
insert into crm.events select n, 1 from generate_series(1, 100001) as n;
analyze crm.events;
create table crm.shared (id integer primary key, hidden text, updated_at timestamptz not null);
create table crm.secret (id integer primary key);

grant usage on schema billing, crm to reader;
grant select on all tables in schema billing, crm to reader;
revoke select on crm.shared, crm.secret from reader;
grant select (id, updated_at) on crm.shared to reader;
