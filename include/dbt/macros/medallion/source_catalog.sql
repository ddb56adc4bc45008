{#-
  PostgreSQL, the source: the query for kind, rights and columns of tables, and for how bronze keeps each column. One
  row per column; a table that does not exist has none. `begin` checks its result (plugins/medallion/run/source.py),
  and the materialization `changelog` reads tables by it. All rules about types are here. Because Airflow's tasks render
  it, too, it uses no macro of dbt.

  Given: `tables`, a list of (schema, name). Columns of the result about a column:
  - bronze_type: its type in bronze.
  - as_value: expression of the value that bronze gets, null if the type of bronze cannot hold it.
  - as_text: expression of its text.
  - spelling: how its values are written as text. Types with the same spelling write equal values as the same text.
  - fits: condition that the type of bronze holds a value; null if it holds every value.
  - is_readable: whether the role may select it.
  - is_reserved: whether bronze or a macro has a column of that name.
  - is_in_primary_key: whether it is a column of the table's primary key.
  Columns of the result about its table:
  - policies: the row policies that may hide rows from the role, null if there are none.
  - session: the calls that give the session the settings under which values are always written alike, null if it and
    its role have them. They keep PostgreSQL from reading in parallel.
-#}
{% macro source_catalog(tables) -%}
with recursive wanted as (
    select
        pg_class.oid as table_id,
        names.schema_name,
        names.table_name,
        pg_class.relkind,
        pg_class.relispopulated,
        pg_class.relnamespace
    from (
        values
        {% for schema, name in tables -%}
        ({{ postgres_literal(schema) }}, {{ postgres_literal(name) }}){{ ',' if not loop.last }}
        {% endfor %}
    ) as names (schema_name, table_name)
    inner join pg_namespace on pg_namespace.nspname = names.schema_name
    inner join pg_class on pg_class.relnamespace = pg_namespace.oid and pg_class.relname = names.table_name
    where pg_class.relkind in ('r', 'p', 'v', 'm', 'f')
),

-- The tables that a view reads, each with the role whose rights and policies count.
readers as (
    select wanted.table_id, wanted.table_id as relation_id, pg_roles.oid as reader
    from wanted
    inner join pg_roles on pg_roles.rolname = current_user
    union
    select
        readers.table_id,
        pg_depend.refobjid,
        case
            when exists (
                select from pg_options_to_table(pg_class.reloptions)
                where option_name = 'security_invoker' and option_value::boolean
            ) then readers.reader
            else pg_class.relowner
        end
    from readers
    inner join pg_class on pg_class.oid = readers.relation_id and pg_class.relkind in ('v', 'm')
    inner join pg_rewrite on pg_rewrite.ev_class = pg_class.oid
    inner join pg_depend
        on pg_depend.classid = 'pg_rewrite'::regclass
        and pg_depend.objid = pg_rewrite.oid
        and pg_depend.refclassid = 'pg_class'::regclass
        and pg_depend.refobjid <> pg_class.oid
),

applied_policies as (
    select
        readers.table_id,
        pg_class.oid,
        pg_class.relname,
        coalesce(
            string_agg(pg_policy.polname, ', ' order by pg_policy.polname), 'row security that grants no row'
        ) as names,
        coalesce(bool_or(pg_policy.polpermissive and pg_get_expr(pg_policy.polqual, pg_class.oid) = 'true'), false)
        and bool_and(pg_policy.polpermissive) as shows_all
    from readers
    inner join pg_class on pg_class.oid = readers.relation_id and pg_class.relrowsecurity
    inner join pg_roles on pg_roles.oid = readers.reader
    left join pg_policy
        on pg_policy.polrelid = pg_class.oid
        and pg_policy.polcmd in ('r', '*')
        and exists (
            select from unnest(pg_policy.polroles) as roles (role_id)
            where case when role_id = 0 then true else pg_has_role(readers.reader, role_id, 'usage') end
        )
    where
        not pg_roles.rolsuper
        and not pg_roles.rolbypassrls
        and (pg_class.relforcerowsecurity or not pg_has_role(readers.reader, pg_class.relowner, 'usage'))
    group by readers.table_id, pg_class.oid, pg_class.relname, readers.reader
),

hidden_rows as (
    select
        table_id,
        string_agg(case when table_id = oid then names else relname || ': ' || names end, ', ' order by relname) as policies
    from applied_policies
    where not shows_all
    group by table_id
),

-- A domain counts as its base type, with the precision that the domain sets.
resolved as (
    select attrelid, attnum, atttypid as type_id, atttypmod as modifier
    from pg_attribute
    where attrelid in (select table_id from wanted) and attnum > 0 and not attisdropped
    union all
    select
        resolved.attrelid,
        resolved.attnum,
        pg_type.typbasetype,
        case when pg_type.typtypmod = -1 then resolved.modifier else pg_type.typtypmod end
    from resolved
    inner join pg_type on pg_type.oid = resolved.type_id and pg_type.typtype = 'd'
),

base_types as (
    select
        resolved.attrelid,
        resolved.attnum,
        format_type(resolved.type_id, resolved.modifier) as base_type,
        case when pg_type.typnamespace = 'pg_catalog'::regnamespace then pg_type.typname else '' end as name,
        case
            when pg_type.typtype = 'e' or pg_type.typname in ('text', 'varchar', 'bpchar', 'char', 'name', 'citext') then 'text'
            when pg_type.typname = '_varchar' then '_text'
            when pg_type.typname in ('numeric', '_numeric') and resolved.modifier <> -1
                then format('%s with %s places', pg_type.typname, (((resolved.modifier - 4) & 2047) # 1024) - 1024)
            else pg_type.typname
        end as spelling,
        pg_type.typtype = 'c' or pg_type.typcategory = 'A' or pg_type.typname = 'hstore' as is_nested,
        case when resolved.modifier <> -1 then (resolved.modifier - 4) >> 16 end as digits,
        case when resolved.modifier <> -1 then (((resolved.modifier - 4) & 2047) # 1024) - 1024 end as places
    from resolved
    inner join pg_type on pg_type.oid = resolved.type_id and pg_type.typtype <> 'd'
),

columns as (
    select
        wanted.*,
        base_types.*,
        pg_attribute.attname,
        pg_attribute.attnotnull,
        format_type(pg_attribute.atttypid, pg_attribute.atttypmod) as data_type,
        'source.' || quote_ident(pg_attribute.attname) as value,
        case
            when base_types.name in ('int2', 'int4') then 'integer'
            when base_types.name = 'int8' then 'bigint'
            when base_types.name = 'float4' then 'real'
            when base_types.name = 'float8' then 'double'
            when base_types.name = 'bool' then 'boolean'
            when base_types.name in ('date', 'uuid') then base_types.name
            when base_types.name = 'timestamp' then 'timestamp(6)'
            when base_types.name = 'timestamptz' then 'timestamp(6) with time zone'
            when
                base_types.name = 'numeric'
                and base_types.digits between 1 and 38
                and base_types.places between 0 and base_types.digits
                then format('decimal(%s,%s)', base_types.digits, base_types.places)
            else 'varchar'
        end as bronze_type
    from wanted
    inner join base_types on base_types.attrelid = wanted.table_id
    inner join pg_attribute
        on pg_attribute.attrelid = base_types.attrelid
        and pg_attribute.attnum = base_types.attnum
),

described as (
    select
        *,
        case
            when name = 'date' then value || $$ between '0001-01-01' and '9999-12-31'$$
            when name = 'timestamp' then value || $$ between '0001-01-01' and '9999-12-31 23:59:59.999999'$$
            when name = 'timestamptz' then value || $$ between '0001-01-01 00:00+00' and '9999-12-31 23:59:59.999999+00'$$
            when bronze_type like 'decimal%' then value || $$ <> 'NaN'$$
        end as fits,
        case
            when is_nested then format('to_json(%s)::text', value)
            when name = 'bytea' then format($$encode(%s, 'hex')$$, value)
            -- A direct cast to text would add a currency, which depends on the session's settings.
            when name = 'money' then value || '::numeric::text'
            -- A direct cast to text would add the length of the netmask, even if that is the default.
            when name = 'inet' then format('abbrev(%s)', value)
            else value || '::text'
        end as as_text
    from columns
),

final as (
    select
        described.schema_name,
        described.table_name,
        described.relkind::text as kind,
        described.relispopulated as is_populated,
        hidden_rows.policies,
        described.attnum::integer as position,
        described.attname::text as name,
        described.data_type,
        described.attnotnull as is_not_null,
        described.bronze_type,
        case
            when described.bronze_type = 'varchar' then described.as_text
            when described.fits is not null
                then format('(case when %s then %s end)::%s', described.fits, described.value, described.base_type)
            else described.value || '::' || described.base_type
        end as as_value,
        described.as_text,
        described.spelling,
        described.fits,
        has_schema_privilege(described.relnamespace, 'usage')
        and has_column_privilege(described.table_id, described.attnum, 'select') as is_readable,
        lower(described.attname) in (
            '_file', '_pos', '_deleted', '_spec_id', '_partition', '_row_id', '_last_updated_sequence_number',
            '_commit_snapshot_id', '_change_type', '_change_ordinal',
            '_op', '_hash', '_extracted_at', '_batch', '_changed_at', '_unkept', '_key', '_copy',
            '_is_delete', '_source_hash', '_source_version', '_bronze_version', '_latest_changed_at', '_finding',
            '_reading', '_is_ambiguous', '_moving'
        ) as is_reserved,
        exists (
            select from pg_index
            where
                pg_index.indrelid = described.table_id
                and pg_index.indisprimary
                and described.attnum = any(pg_index.indkey)
        ) as is_in_primary_key,
        (
            select string_agg(format('set_config(%L, %L, true)', names.name, names.value), ', ' order by names.name)
            from (
                values
                ('DateStyle', 'ISO', '^ISO'),
                ('IntervalStyle', 'postgres', '^postgres$'),
                ('TimeZone', 'UTC', '^UTC$'),
                ('bytea_output', 'hex', '^hex$'),
                ('extra_float_digits', '1', '^[1-3]$')
            ) as names (name, value, pattern)
            inner join pg_settings on pg_settings.name = names.name
            -- Behind a pooler another session may run the query, with the role's own values (`reset_val`).
            where pg_settings.setting !~ names.pattern or pg_settings.reset_val !~ names.pattern
        ) as session
    from described
    left join hidden_rows on hidden_rows.table_id = described.table_id
)

select * from final
order by schema_name, table_name, position
{%- endmacro %}
