{#- Trino: what differs between a gold table as audited and as published, into a staging table.
   Given: `table` (GoldTable), `audited` (what the audit returned). -#}
{%- set snapshot = audited.snapshots.get('gold.' ~ table.name) -%}
{%- set base_snapshot = audited.base_snapshots.get('gold.' ~ table.name) -%}
{#- A snapshot from before a column was added has none of it. -#}
{%- set known = audited.columns.get('gold.' ~ table.name, table.contract) -%}
/* {{ tag(ti) }} */
create table postgres_gold.staging.{{ table.name }}_{{ audited.staging }} as
with gold as (
    select
        {% for column, type in table.contract.items() -%}
        {{ column if column in known else 'cast(null as ' ~ type ~ ') as ' ~ column }},
        {% endfor -%}
        _batch
    from lake.gold.{{ table.name }}{{ ' for version as of ' ~ snapshot if snapshot else ' where false' }}
),

changed as (
    select {{ table.contract | join(', ') }}, false as _deleted
    from gold
    {% if base_snapshot %}where _batch > {{ audited.base_batch }}{% endif %}
)
{%- if base_snapshot %},

vanished as (
    select
        {% for column in table.contract -%}
        {{ 'published.' ~ column if column in table.key else 'null as ' ~ column }},
        {% endfor -%}
        true as _deleted
    from lake.gold.{{ table.name }} for version as of {{ base_snapshot }} as published
    left join gold
        on {% for column in table.key %}{{ 'and ' if not loop.first }}published.{{ column }} = gold.{{ column }} {% endfor %}
    where gold.{{ table.key[0] }} is null
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
