{#- Trino: what may differ between a gold table and what is published of it, into this run's staging table. -#}
{%- set run = run_state(ti) -%}
{%- set table = params.table -%}
{%- set staging = 'postgres_gold.staging.' ~ table.name ~ '_' ~ run.batch -%}
{%- set snapshot = run.published_snapshot('gold.' ~ table.name) -%}
drop table if exists {{ staging }};

create table {{ staging }} as
with gold as (
    select * from lake.gold.{{ table.name }}
),

changed as (
    select {{ table.columns | join(', ') }}, false as _deleted
    from gold
    {% if snapshot %}where _batch > {{ run.published_batch }}{% endif %}
)
{%- if snapshot %},

vanished as (
    select
        {% for column in table.columns -%}
        {{ 'published.' ~ column if column in table.key else 'null as ' ~ column }},
        {% endfor -%}
        true as _deleted
    from lake.gold.{{ table.name }} for version as of {{ snapshot }} as published
    left join gold
        on {% for column in table.key %}{{ 'and ' if not loop.first }}published.{{ column }} = gold.{{ column }} {% endfor %}
    where gold.{{ table.key[0] }} is null
)
{%- endif %},

final as (
    select * from changed
    {% if snapshot -%}
    union all
    select * from vanished
    {%- endif %}
)

select * from final
