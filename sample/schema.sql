-- Create the tables of the sample shop. As in an old operational database, they have text columns and no primary keys,
-- so they can contain every kind of bad row. Triggers set `updated_at`, unless the writer sets it. This file may run
-- several times.
--
-- Each of the nine tables has a comment that marks it as the shop's. This file fails, and changes nothing, if a table
-- of the same name has no such comment, or if the database has only other tables: they belong to somebody else.

select pg_advisory_xact_lock(hashtext('sample/schema.sql'));  -- two sessions that create the same objects at once would fail

do $$
declare
    names constant text[] := array[
        'customers', 'sellers', 'products', 'product_category_name_translation', 'geolocation',
        'orders', 'order_items', 'order_payments', 'order_reviews'
    ];
    marked oid[];
    others text;
begin
    -- Check only once per transaction. To replace the shop, `make_empty` runs this file, drops the marked tables and
    -- runs it again. Without marked tables, the second check would fail if the database has any other table.
    if current_setting('sample.is_checked', true) = 'on' then
        return;
    end if;
    perform set_config('sample.is_checked', 'on', true);

    select array_agg(oid) into marked
    from pg_class
    where relnamespace = to_regnamespace('sales') and relname = any(names)
        and obj_description(oid, 'pg_class') = 'Sample shop of medallion: its commands may replace this table.';

    select string_agg(format('%I.%I', nspname, relname), ', ' order by nspname, relname) into others
    from pg_class
    inner join pg_namespace on pg_namespace.oid = relnamespace
    where case
        when nspname = 'sales' and relname = any(names) then not pg_class.oid = any(coalesce(marked, '{}'))
        else marked is null and pg_class.oid in (select relid from pg_stat_user_tables where schemaname !~ '^pg_temp_')
    end;

    if others is not null then
        raise exception 'The database "%" is not the sample shop: it holds % without the shop''s marker',
            current_database(), others
            using hint = 'Name an empty database in SOURCE_URL: the shop''s tables are created there.';
    end if;
end
$$;

create schema if not exists sales;

create table if not exists sales.customers (
    customer_id text,
    customer_unique_id text,
    customer_zip_code_prefix text,
    customer_city text,
    customer_state text,
    updated_at timestamptz not null default now()
);

create table if not exists sales.sellers (
    seller_id text,
    seller_zip_code_prefix text,
    seller_city text,
    seller_state text,
    updated_at timestamptz not null default now()
);

create table if not exists sales.products (
    product_id text,
    product_category_name text,
    product_name_lenght text,
    product_description_lenght text,
    product_photos_qty text,
    product_weight_g text,
    product_length_cm text,
    product_height_cm text,
    product_width_cm text,
    updated_at timestamptz not null default now()
);

create table if not exists sales.product_category_name_translation (
    product_category_name text,
    product_category_name_english text,
    updated_at timestamptz not null default now()
);

create table if not exists sales.geolocation (
    geolocation_zip_code_prefix text,
    geolocation_lat text,
    geolocation_lng text,
    geolocation_city text,
    geolocation_state text,
    updated_at timestamptz not null default now(),
    geolocation_id bigint generated always as identity
);

create table if not exists sales.orders (
    order_id text,
    customer_id text,
    order_status text,
    order_purchase_timestamp text,
    order_approved_at text,
    order_delivered_carrier_date text,
    order_delivered_customer_date text,
    order_estimated_delivery_date text,
    updated_at timestamptz not null default now()
);

create table if not exists sales.order_items (
    order_id text,
    order_item_id text,
    product_id text,
    seller_id text,
    shipping_limit_date text,
    price text,
    freight_value text,
    updated_at timestamptz not null default now()
);

create table if not exists sales.order_payments (
    order_id text,
    payment_sequential text,
    payment_type text,
    payment_installments text,
    payment_value text,
    updated_at timestamptz not null default now()
);

create table if not exists sales.order_reviews (
    review_id text,
    order_id text,
    review_score text,
    review_comment_title text,
    review_comment_message text,
    review_creation_date text,
    review_answer_timestamp text,
    updated_at timestamptz not null default now()
);

create index if not exists customers_updated_at on sales.customers (updated_at);
create index if not exists sellers_updated_at on sales.sellers (updated_at);
create index if not exists products_updated_at on sales.products (updated_at);
create index if not exists translation_updated_at on sales.product_category_name_translation (updated_at);
create index if not exists geolocation_updated_at on sales.geolocation (updated_at);
create index if not exists orders_updated_at on sales.orders (updated_at);
create index if not exists order_items_updated_at on sales.order_items (updated_at);
create index if not exists order_payments_updated_at on sales.order_payments (updated_at);
create index if not exists order_reviews_updated_at on sales.order_reviews (updated_at);

-- An index for trade.sql, which looks for open orders. These are few, so the index is small.
create index if not exists orders_open on sales.orders (updated_at)
where order_status in ('created', 'approved', 'invoiced', 'processing', 'shipped');

create or replace function sales.touch() returns trigger language plpgsql as $$
begin
    -- now() is the start of this transaction. Another transaction may have changed the row later, and `updated_at` must
    -- not become earlier.
    new.updated_at := greatest(now(), old.updated_at + interval '1 microsecond');
    return new;
end
$$;

do $$
declare
    name text;
begin
    foreach name in array array[
        'customers', 'sellers', 'products', 'product_category_name_translation', 'geolocation',
        'orders', 'order_items', 'order_payments', 'order_reviews'
    ] loop
        execute format(
            'comment on table sales.%I is ''Sample shop of medallion: its commands may replace this table.''', name
        );
        execute format(
            'create or replace trigger touch_insert before insert on sales.%1$I for each row'
            ' when (new.updated_at is null) execute function sales.touch()', name
        );
        execute format(
            'create or replace trigger touch_update before update on sales.%1$I for each row'
            ' when (new.updated_at is not distinct from old.updated_at or new.updated_at is null)'
            ' execute function sales.touch()', name
        );
    end loop;
    if exists (select from pg_roles where rolname = 'source_reader') then
        grant usage on schema sales to source_reader;
        grant select on all tables in schema sales to source_reader;
        alter default privileges in schema sales grant select on tables to source_reader;
    end if;
end
$$;
