{#- PostgreSQL, part of a transaction: turns all gold tables into what the run staged.
    Given: `tables` (GoldTable), `staging`, `present` (published_columns), `base_snapshots`. -#}
{% for table in tables %}
{%- set staged_rows = 'staging.' ~ table.name ~ '_' ~ staging %}
{%- if table.name not in present %}
create table gold.{{ table.name }} (
    {% for name, type in table.columns.items() -%}
    {{ name }} {{ type }}{{ ' not null' if name in table.key }}{{ ',' if not loop.last }}
    {% endfor -%}
);
{%- else -%}
{#- DDL locks out readers, so it runs only for a missing column or a changed contract. -#}
{%- for name, type in table.columns.items() if present[table.name].get(name) != type %}
{%- if name in present[table.name] %}
alter table gold.{{ table.name }} alter column {{ name }} type {{ type }};
{%- else %}
alter table gold.{{ table.name }} add column {{ name }} {{ type }};
{%- endif %}
{%- endfor %}
{%- endif %}
create unique index if not exists {{ table.name }}_key on gold.{{ table.name }} ({{ table.index_expressions | join(', ') }});

delete from gold.{{ table.name }} as published
{% if 'gold.' ~ table.name not in base_snapshots -%}
where not exists (
    select from {{ staged_rows }} as staged
    where {% for column in table.key %}{{ 'and ' if not loop.first }}staged.{{ column }} = published.{{ column }} {% endfor %}
);
{%- else -%}
using {{ staged_rows }} as staged
where staged._deleted {% for column in table.key %}and staged.{{ column }} = published.{{ column }} {% endfor %};
{%- endif %}

insert into gold.{{ table.name }} as published ({{ table.columns | join(', ') }})
select {{ table.columns | join(', ') }} from {{ staged_rows }} where not _deleted
on conflict ({{ table.index_expressions | join(', ') }}) do update
set {% for column in table.columns if column not in table.key %}{{ column }} = excluded.{{ column }}{{ ', ' if not loop.last }}{% endfor %}
where
    ({% for column in table.columns %}published.{{ column }}{{ ', ' if not loop.last }}{% endfor %})
    is distinct from ({% for column in table.columns %}excluded.{{ column }}{{ ', ' if not loop.last }}{% endfor %});
{% endfor %}
