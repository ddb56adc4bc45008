-- The tables of one schema (or one table of it), as their catalog describes them. Lists are JSON.
with recursive relations as (
    select
        class.oid,
        class.relname as name,
        class.relkind as kind,
        class.relispartition as is_partition,
        namespace.nspname as schema,
        obj_description(class.oid, 'pg_class') as comment,
        -- A partitioned table has no rows of its own. A number below zero means that its rows were never counted.
        greatest(
            class.reltuples,
            (
                select sum(greatest(part.reltuples, 0))
                from pg_partition_tree(class.oid) as tree
                inner join pg_class as part on part.oid = tree.relid
                where class.relkind = 'p' and tree.isleaf
            )
        )::float8 as rows,
        has_schema_privilege(namespace.oid, 'usage') as may_use_schema
    from pg_class as class
    inner join pg_namespace as namespace on namespace.oid = class.relnamespace
    where class.relkind in ('r', 'p', 'v', 'm', 'f')
        and namespace.nspname = %(schema)s and (%(name)s::text is null or class.relname = %(name)s)
),

columns as (
    select
        relations.oid as relation,
        attribute.attnum as position,
        attribute.attname as name,
        attribute.attnotnull and not exists (
            select from pg_constraint as pending
            where pending.conrelid = relations.oid and pending.contype = 'n' and not pending.convalidated
                and pending.conkey = array[attribute.attnum]
        ) as not_null,
        attribute.atttypid as declared_type,
        attribute.atttypmod as modifier,
        col_description(relations.oid, attribute.attnum) as comment,
        has_column_privilege(relations.oid, attribute.attnum, 'select') as may_read
    from relations
    inner join pg_attribute as attribute on attribute.attrelid = relations.oid
    where attribute.attnum > 0 and not attribute.attisdropped
),

-- A domain over a domain leads to its base type in several steps; each may have constraints.
steps as (
    select relation, position, declared_type as type, modifier, 0 as step from columns
    union all
    select
        steps.relation,
        steps.position,
        domain.typbasetype,
        case when domain.typtypmod >= 0 then domain.typtypmod else steps.modifier end,
        steps.step + 1
    from steps
    inner join pg_type as domain on domain.oid = steps.type
    where domain.typtype = 'd'
),

base_types as (
    select distinct on (relation, position)
        relation,
        position,
        type,
        modifier
    from steps
    order by relation asc, position asc, step desc
),

domains as (
    select
        steps.relation,
        steps.position,
        bool_or(domain.typnotnull) as not_null,
        json_agg(pg_get_constraintdef(rule.oid) order by rule.oid) filter (where rule.oid is not null) as checks
    from steps
    inner join pg_type as domain on domain.oid = steps.type and domain.typtype = 'd'
    left join pg_constraint as rule on rule.contypid = domain.oid and rule.contype = 'c' and rule.convalidated
    group by steps.relation, steps.position
),

typed as (
    select
        columns.relation,
        json_agg(
            json_build_object(
                'position', columns.position,
                'name', columns.name,
                'type', case
                    when base.typtype = 'e' then 'enum'
                    when base.typnamespace = 'pg_catalog'::regnamespace then base.typname
                    else 'other'
                end,
                'declared', format_type(columns.declared_type, columns.modifier),
                'modifier', base_types.modifier,
                'not_null', columns.not_null or coalesce(domains.not_null, false),
                'comment', columns.comment,
                'may_read', columns.may_read,
                'is_indexed', exists (
                    select from pg_index
                    where pg_index.indrelid = columns.relation and pg_index.indisvalid
                        and pg_index.indkey[0] = columns.position
                ),
                'domain_checks', coalesce(domains.checks, '[]')
            )
            order by columns.position
        ) as columns
    from columns
    inner join base_types using (relation, position)
    inner join pg_type as base on base.oid = base_types.type
    left join domains using (relation, position)
    group by columns.relation
),

keys as (
    select
        relations.oid as relation,
        json_agg(
            json_build_object(
                'name', index_class.relname,
                'is_primary', pg_index.indisprimary,
                'positions', (pg_index.indkey::int2[])[0:pg_index.indnkeyatts - 1]
            )
            order by pg_index.indisprimary desc, pg_index.indnkeyatts, index_class.relname
        ) as keys
    from relations
    inner join pg_index on pg_index.indrelid = relations.oid
    inner join pg_class as index_class on index_class.oid = pg_index.indexrelid
    where pg_index.indisunique and pg_index.indisvalid and pg_index.indpred is null and pg_index.indexprs is null
    group by relations.oid
),

checks as (
    select
        relations.oid as relation,
        json_agg(
            json_build_object(
                'name', pg_constraint.conname,
                'definition', pg_get_constraintdef(pg_constraint.oid),
                'is_valid', pg_constraint.convalidated
            )
            order by pg_constraint.conname
        ) as checks
    from relations
    inner join pg_constraint on pg_constraint.conrelid = relations.oid
    where pg_constraint.contype = 'c'
    group by relations.oid
),

final as (
    select
        relations.schema as namespace,
        relations.name,
        relations.kind,
        relations.is_partition,
        relations.comment,
        relations.rows,
        relations.may_use_schema,
        coalesce(typed.columns, '[]') as columns,
        coalesce(keys.keys, '[]') as keys,
        coalesce(checks.checks, '[]') as checks
    from relations
    left join typed on typed.relation = relations.oid
    left join keys on keys.relation = relations.oid
    left join checks on checks.relation = relations.oid
)

select row_to_json(final) from final order by name
