{#- Trino: loads the difference between a gold table as audited and as published into a staging table.
    Given: `table` (GoldTable), `audited` (Staged), `catalogs`, `tag`. -#}
{%- from 'publish/quoted.sql' import quoted, quoted_list -%}
{%- set snapshot = audited.snapshots.get('gold.' ~ table.name) -%}
{%- set base_snapshot = audited.base_snapshots.get('gold.' ~ table.name) -%}
{#- Columns that the audited snapshot has. It lacks a column that was declared later, which is staged as null. Without a
    snapshot the table is staged empty and not read, because the lake may not have it yet. -#}
{%- set known = audited.columns.get('gold.' ~ table.name, table.contract) if snapshot else [] -%}
{%- set lake_table = catalogs.lake ~ '.gold.' ~ quoted(table.name) -%}
/* {{ tag(ti) }} */
create table {{ catalogs.gold }}.staging.{{ quoted(table.name ~ '_' ~ audited.staging) }} as
with gold as (
    select
        {% for column, type in table.contract.items() -%}
        {%- if column not in known -%}
        cast(null as {{ type }})
        {%- elif type == 'json' -%}
        json_parse({{ quoted(column) }})
        {%- else -%}
        cast({{ quoted(column) }} as {{ type }})
        {%- endif %} as {{ quoted(column) }},
        {% endfor -%}
        {{ '_batch' if snapshot else 'cast(null as bigint) as _batch' }}
    from {{ lake_table ~ ' for version as of ' ~ snapshot if snapshot else '(values (1)) as nothing where false' }}
),

changed as (
    select {{ quoted_list(table.contract) }}, false as _deleted
    from gold
    {% if base_snapshot %}where _batch > {{ audited.base_batch }}{% endif %}
)
{%- if base_snapshot %},

vanished as (
    select
        {% for column, type in table.contract.items() -%}
        cast({{ 'published.' ~ quoted(column) if column in table.key else 'null' }} as {{ type }}) as {{ quoted(column) }},
        {% endfor -%}
        true as _deleted
    from {{ lake_table }} for version as of {{ base_snapshot }} as published
    left join gold
        on {% for column in table.key %}{{ 'and ' if not loop.first }}published.{{ quoted(column) }} = gold.{{ quoted(column) }} {% endfor %}
    where gold.{{ quoted(table.key[0]) }} is null
)
{%- endif %},

final as (
    select * from changed
    {% if base_snapshot -%}
    union all
    select * from vanished
    {%- endif %}
)

select * from final
