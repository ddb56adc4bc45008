-- A source schema with many column types, with keys, checks and comments, and with names that must be quoted.
create schema clinic;
create extension if not exists hstore with schema public;
create type clinic.blood_group as enum ('A', 'B', 'AB', '0');
create domain clinic.percentage as numeric(5, 2) check (value between 0 and 100);
create type clinic.address as (street text, zip varchar(10));

create table clinic."Patient" (
    patient_id uuid primary key,
    "Full Name" varchar(80) not null,
    born_on date not null,
    blood clinic.blood_group,
    is_insured boolean not null default true,
    share clinic.percentage,
    home clinic.address,
    tags text[],
    notes jsonb,
    extra public.hstore,
    photo bytea,
    balance numeric(12, 4) not null default 0 check (balance >= -1000),
    factor numeric,
    weight real,
    height double precision,
    fee money,
    insured_until date,
    rebate numeric(8, 3),
    visits smallint not null default 0,
    points bigint,
    opens time,
    closes timetz,
    stay interval,
    ip inet,
    network cidr,
    device macaddr,
    place point,
    span int4range,
    search tsvector,
    mask bit(4),
    code char(4),
    seen_at timestamptz,
    wall_clock timestamp,
    doubled numeric generated always as (balance * 2) stored,
    "order" integer,
    "Order" integer,
    updated_at timestamptz not null default now()
);
create index on clinic."Patient" (updated_at);
comment on table clinic."Patient" is 'A person who is treated.';
comment on column clinic."Patient".born_on is 'Day of birth.';
comment on column clinic."Patient"."Full Name" is 'Name, "as it''s" written: 100 %.';

insert into clinic."Patient" (
    patient_id, "Full Name", born_on, blood, is_insured, share, home, tags, notes, extra, photo, balance, factor, weight,
    height, fee, visits, points, opens, closes, stay, ip, network, device, place, span, search, mask, code, seen_at,
    wall_clock, "order", "Order", updated_at
)
values
(
    '00000000-0000-0000-0000-000000000001', '  Ada "L" ', '1815-12-10', 'AB', true, 12.50, ('Main St', '0123'),
    '{a,"b c",null}', '{"a": [1, 2.50], "b": "ü"}', 'k=>v', '\xcafe00', 0.125, 1234567890123456789012345.678901,
    0.125, 1e-4, '12.34', 32767, 9223372036854775807, '12:34:56.789', '23:59:59+02', '1 day 02:03:04',
    '10.0.0.1/24', '10.0.0.0/8', '08:00:2b:01:02:03', '(1.5,-2)', '[1,5)', to_tsvector('simple', 'b a'),
    b'1010', 'ab', '2024-02-29 23:59:59.123456+05', '2024-03-31 02:30:00.000001', 1, 2, '2024-01-01 00:00:00.000001+00'
),
(
    '00000000-0000-0000-0000-000000000002', 'Grace', '1906-12-09', null, false, null, null, null, null, null, null, -1,
    null, null, null, null, 0, null, null, null, null, null, null, null, null, null, null, null, null, null,
    null, null, null, '2024-01-02'
),
(
    '00000000-0000-0000-0000-000000000003', 'Катя', '0001-01-01', '0', true, 100, (null, ''), '{}', '[]', '', '',
    99999999.9999, -0.000, 'Infinity', '-1.7976931348623157e308', '-0.01', -32768, -9223372036854775808, '24:00:00',
    '00:00:00-15:59', '-1 mons +2 days', '::1', '::/0', 'ff:ff:ff:ff:ff:ff', '(0,0)', 'empty', '', b'0000',
    'abcd', '0001-01-01 00:00:00+00', '9999-12-31 23:59:59.999999', -2147483648, 2147483647, '2024-01-03'
);

-- Values that the date, time and decimal types of silver cannot represent.
insert into clinic."Patient" (
    patient_id, "Full Name", born_on, insured_until, rebate, seen_at, wall_clock, updated_at
)
values
(
    '00000000-0000-0000-0000-000000000005', 'Boundless', '9999-12-31', 'infinity', 'NaN', '-infinity',
    '10000-01-01', '2024-01-04'
);

-- A partitioned table, which must be captured like a plain table.
create table clinic.visit (
    clinic_no integer not null,
    visit_no integer not null,
    patient_id uuid not null,
    visited_on date not null,
    cost numeric(10, 2) not null check (cost >= 0),
    modified_at timestamptz not null default now(),
    primary key (clinic_no, visit_no)
) partition by range (clinic_no);
create table clinic.visit_low partition of clinic.visit for values from (0) to (10);
create table clinic.visit_high partition of clinic.visit for values from (10) to (20);
create index on clinic.visit (modified_at);
insert into clinic.visit values
(1, 1, '00000000-0000-0000-0000-000000000001', '2024-01-01', 10.50, '2024-01-01'),
(1, 2, '00000000-0000-0000-0000-000000000002', '2024-01-01', 0, '2024-01-02'),
(12, 1, '00000000-0000-0000-0000-000000000001', '2024-02-01', 99999999.99, '2024-01-03');

-- A table without a cursor column: each run compares the whole table.
create table clinic.country (code char(2) primary key, name text not null);
insert into clinic.country values ('de', 'Germany'), ('fr', 'France');
