{#- Trino: loads the difference between a gold table as audited and as published into a staging table.
    Given: `table` (GoldTable), `audited` (Staged), `catalogs`, `tag`. -#}
{%- set snapshot = audited.snapshots.get('gold.' ~ table.name) -%}
{%- set base_snapshot = audited.base_snapshots.get('gold.' ~ table.name) -%}
{#- A snapshot older than a column lacks it. -#}
{%- set known = audited.columns.get('gold.' ~ table.name, table.contract) -%}
/* {{ tag(ti) }} */
create table {{ catalogs.gold }}.staging.{{ table.name }}_{{ audited.staging }} as
with gold as (
    select
        {% for column, type in table.contract.items() -%}
        {{ column if column in known else 'cast(null as ' ~ type ~ ') as ' ~ column }},
        {% endfor -%}
        _batch
    from {{ catalogs.lake }}.gold.{{ table.name }}{{ ' for version as of ' ~ snapshot if snapshot else ' where false' }}
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
    from {{ catalogs.lake }}.gold.{{ table.name }} for version as of {{ base_snapshot }} as published
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
