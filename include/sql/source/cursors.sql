{#- PostgreSQL, the source: type, rights and index of the tables' cursors. A cursor column that does not exist has no row.
    Given: `tables` (SourceTable with a cursor). -#}
with recursive declared (model, schema_name, table_name, column_name, zone) as (
    values
    {% for table in tables -%}
    (
        {{ postgres_literal(table.model) }}, {{ postgres_literal(table.schema) }}, {{ postgres_literal(table.name) }},
        {{ postgres_literal(table.cursor) }}, {{ postgres_literal(table.zone) }}
    ){{ ',' if not loop.last }}
    {% endfor %}
),

-- A domain counts as its base type, with the precision that the domain sets.
resolved as (
    select
        declared.model,
        declared.zone,
        n.oid as namespace_id,
        c.oid as table_id,
        c.relkind,
        c.reltuples,
        a.attnum,
        a.attnotnull,
        a.atttypid as type_id,
        a.atttypmod as modifier
    from declared
    inner join pg_namespace as n on declared.schema_name = n.nspname
    inner join pg_class as c on n.oid = c.relnamespace and declared.table_name = c.relname
    inner join pg_attribute as a on c.oid = a.attrelid and declared.column_name = a.attname and not a.attisdropped
    union all
    select
        resolved.model,
        resolved.zone,
        resolved.namespace_id,
        resolved.table_id,
        resolved.relkind,
        resolved.reltuples,
        resolved.attnum,
        resolved.attnotnull,
        t.typbasetype,
        case when t.typtypmod = -1 then resolved.modifier else t.typtypmod end
    from resolved
    inner join pg_type as t on resolved.type_id = t.oid and t.typtype = 'd'
),

final as (
    select
        r.model,
        format_type(r.type_id, r.modifier) as data_type,
        r.attnotnull as is_not_null,
        has_schema_privilege(r.namespace_id, 'usage') and has_column_privilege(r.table_id, r.attnum, 'select') as is_readable,
        -- A view can't have an index: it reads other tables, which may have one. So it counts as indexed.
        r.relkind not in ('r', 'p', 'm') or exists (
            select from pg_index as i where i.indrelid = r.table_id and i.indkey[0] = r.attnum and i.indisvalid
        ) as is_indexed,
        r.relkind in ('r', 'p') as has_constraints,
        r.reltuples::bigint as row_estimate,
        r.zone = 'UTC' or r.zone in (select name from pg_timezone_names) as is_zone
    from resolved as r
    inner join pg_type as t on r.type_id = t.oid and t.typtype <> 'd'
)

select * from final
