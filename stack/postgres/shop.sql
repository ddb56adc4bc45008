-- Database `shop`: the source's schema and its readers. The tables belong to the shop's own commands.
create schema if not exists sales authorization shop;
alter role shop in database shop set search_path = sales;
alter role source_reader in database shop set search_path = sales;
grant usage on schema sales to source_reader;
grant select on all tables in schema sales to source_reader;
alter default privileges for role shop in schema sales grant select on tables to source_reader;

-- A shop created by an earlier version has no marker yet (see sample/schema.sql). It is recognized if it
-- has all nine tables, each with these columns, owned by `shop` and with the shop's trigger.
do $$
declare
    tables constant jsonb := '{
        "customers": ["customer_id", "customer_unique_id", "customer_zip_code_prefix", "customer_city", "customer_state"],
        "sellers": ["seller_id", "seller_zip_code_prefix", "seller_city", "seller_state"],
        "products": [
            "product_id", "product_category_name", "product_name_lenght", "product_description_lenght",
            "product_photos_qty", "product_weight_g", "product_length_cm", "product_height_cm", "product_width_cm"
        ],
        "product_category_name_translation": ["product_category_name", "product_category_name_english"],
        "geolocation": [
            "geolocation_zip_code_prefix", "geolocation_lat", "geolocation_lng", "geolocation_city", "geolocation_state",
            "geolocation_id"
        ],
        "orders": [
            "order_id", "customer_id", "order_status", "order_purchase_timestamp", "order_approved_at",
            "order_delivered_carrier_date", "order_delivered_customer_date", "order_estimated_delivery_date"
        ],
        "order_items": [
            "order_id", "order_item_id", "product_id", "seller_id", "shipping_limit_date", "price", "freight_value"
        ],
        "order_payments": ["order_id", "payment_sequential", "payment_type", "payment_installments", "payment_value"],
        "order_reviews": [
            "review_id", "order_id", "review_score", "review_comment_title", "review_comment_message",
            "review_creation_date", "review_answer_timestamp"
        ]
    }';
    name text;
begin
    if (
        select count(*)
        from pg_class
        inner join jsonb_each(tables) as expected on expected.key = relname
        where relnamespace = 'sales'::regnamespace and relkind = 'r' and relowner = 'shop'::regrole
            and obj_description(pg_class.oid, 'pg_class') is null
            and exists (
                select from pg_trigger
                where tgrelid = pg_class.oid and tgname = 'touch_update' and tgfoid = to_regproc('sales.touch')
            )
            and expected.value || '["updated_at"]' <@ (
                select jsonb_agg(attname) from pg_attribute where attrelid = pg_class.oid and attnum > 0 and not attisdropped
            )
    ) = 9 then
        for name in select * from jsonb_object_keys(tables) loop
            execute format(
                'comment on table sales.%I is ''Sample shop of medallion: its commands may replace this table.''', name
            );
        end loop;
    end if;
end
$$;
