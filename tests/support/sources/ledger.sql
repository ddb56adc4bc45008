-- A source schema whose cursor columns are timestamps without a time zone, and whose keys have several columns.
create schema ledger;
create table ledger.account (
    bank text not null,
    number integer not null,
    opened_on date not null,
    amount numeric(18, 4) not null,
    last_update timestamp not null default localtimestamp,
    primary key (bank, number)
);
create index on ledger.account (last_update);
insert into ledger.account values
('north', 1, '2020-02-29', 100.1250, '2024-01-01 10:00:00'),
('north', 2, '2020-03-01', -5, '2024-01-01 10:00:00'),
('south', 1, '2020-03-02', 0.0001, '2024-01-02 23:59:59.999999');

create table ledger.entry (
    bank text not null,
    number integer not null,
    position smallint not null,
    booked_at timestamp not null,
    amount numeric(18, 4) not null,
    rate double precision,
    last_modified timestamp not null default localtimestamp,
    primary key (bank, number, position)
);
create index on ledger.entry (last_modified);
insert into ledger.entry values
('north', 1, 1, '2024-01-01 09:59:59.5', 100.1250, 0.1, '2024-01-01 10:00:00'),
('north', 1, 2, '2024-01-01 10:00:00', -0.0001, null, '2024-01-01 10:00:00'),
('south', 1, 1, '1999-12-31 23:59:59.999999', 99999999999999.9999, 1e300, '2024-01-02');
