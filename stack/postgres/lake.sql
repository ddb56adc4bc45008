-- Database `lake`: the Iceberg JDBC catalog, schema V1. Trino does not create these tables. Without a namespace
-- `default` the Spark Thrift server refuses connections.
set role lake;
create table if not exists iceberg_tables (
    catalog_name varchar(255) not null,
    table_namespace varchar(255) not null,
    table_name varchar(255) not null,
    metadata_location varchar(1000),
    previous_metadata_location varchar(1000),
    iceberg_type varchar(5),
    primary key (catalog_name, table_namespace, table_name)
);
create table if not exists iceberg_namespace_properties (
    catalog_name varchar(255) not null,
    namespace varchar(255) not null,
    property_key varchar(255) not null,
    property_value varchar(1000),
    primary key (catalog_name, namespace, property_key)
);
insert into iceberg_namespace_properties
select
    'lake' as catalog_name,
    name as namespace,
    'exists' as property_key,
    'true' as property_value
from unnest(array['default', 'bronze', 'silver', 'gold', 'reconciled', 'reconciled_source']) as names (name)
on conflict do nothing;
